//! From the Engine's answers about containers to the model's values. Pure; nothing here can panic.
//!
//! What cannot be read is described in [`Container::unreadable`] and publishes nothing; it never
//! widens what the rest publishes ([`super::ports`]), and bindings that cannot be read at all are
//! [`Bindings::Unknown`].

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use serde::Deserialize;

use super::error::Unreadable;
use super::event::is_id;
use super::lenient::{Field, MAX_NOTES, Notes, each_row, parse, start};
use super::ports::{self, ListedPort, PortMap};
use crate::model::container::{Bindings, Container, Endpoint, Start};
use crate::model::text::Untrusted;

/// The answer to a list of running containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerList {
    /// The rows with an id.
    pub rows: Vec<ListRow>,
    /// Rows that do not even name a container, described; the first few.
    pub odd: Vec<Untrusted>,
}

/// One row of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRow {
    /// The container's full id.
    pub id: String,
    /// The row's content; `None` where it cannot be read and only an inspect helps.
    pub container: Option<Container>,
}

/// The answer to an inspect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inspected {
    /// It runs.
    Running(Box<Container>),
    /// It is there and does not run, or is about to be started again.
    NotRunning,
}

type Labels = BTreeMap<String, Field<String>>;

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    id: Field<String>,
    names: Field<Vec<Field<String>>>,
    image: Field<String>,
    state: Field<String>,
    created: Field<i64>,
    host_config: Field<HostConfig>,
    network_settings: Field<NetworkSettings>,
    ports: Field<Vec<Field<ListedPort>>>,
    labels: Field<Labels>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspect {
    id: Field<String>,
    name: Field<String>,
    created: Field<String>,
    state: Field<State>,
    host_config: Field<HostConfig>,
    network_settings: Field<NetworkSettings>,
    config: Field<Config>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    running: Field<bool>,
    restarting: Field<bool>,
    started_at: Field<String>,
    pid: Field<u32>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    image: Field<String>,
    labels: Field<Labels>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    network_mode: Field<String>,
    port_bindings: Field<PortMap>,
    publish_all_ports: Field<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    networks: Field<Networks>,
    ports: Field<PortMap>,
}

type Networks = BTreeMap<String, Field<EndpointSettings>>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EndpointSettings {
    #[serde(rename = "NetworkID")]
    network_id: Field<String>,
    #[serde(rename = "GlobalIPv6Address")]
    address: Field<String>,
    mac_address: Field<String>,
    #[serde(rename = "IPv6Gateway")]
    gateway: Field<String>,
    gw_priority: Field<i64>,
}

/// Reads the answer to a list.
///
/// # Errors
/// The text is no JSON list. A row that cannot be read is no error.
pub fn list(text: &str) -> Result<ContainerList, Unreadable> {
    let mut list = ContainerList::default();
    each_row(text, |text, row: Field<Row>| {
        let row = row.or_default();
        let Some(id) = row.id.ok().filter(|id| is_id(id)) else {
            if list.odd.len() < MAX_NOTES {
                let what = "a row of the container list without an id";
                list.odd
                    .push(Untrusted::new(format!("{what}: {}", start(text))));
            }
            return;
        };
        // Between two runs a container is listed without an address; its start is an event.
        if row.state.ok().as_deref() == Some("restarting") {
            return;
        }
        let mut notes = Notes::default();
        let container = Container {
            id: id.clone(),
            name: list_name(row.names),
            image: row.image.text(),
            start: Start::default(),
            created: row.created.or_default(),
            network_mode: row.host_config.or_default().network_mode.text(),
            endpoints: endpoints(row.network_settings.or_default().networks, &mut notes),
            ports: ports::listed(row.ports, &mut notes),
            bindings: Bindings::Unknown,
            labels: labels(row.labels, &mut notes),
            unreadable: notes.list,
        };
        list.rows.push(ListRow {
            id,
            container: (!notes.structure).then_some(container),
        });
    })?;
    Ok(list)
}

/// Reads the answer to an inspect of `id`.
///
/// # Errors
/// The text is no JSON object, speaks of another container, or does not say whether it runs.
pub fn inspect(id: &str, text: &str) -> Result<Inspected, Unreadable> {
    let answer: Inspect = parse(text)?;
    match answer.id.required() {
        Ok(its) if its == id => {}
        Ok(other) | Err(other) => {
            let text = format!("it speaks of another container: {}", start(&other));
            return Err(Unreadable::new(text));
        }
    }
    let state = answer.state.or_default();
    match state.running.ok() {
        None => return Err(Unreadable::new("it does not say whether it runs")),
        Some(false) => return Ok(Inspected::NotRunning),
        // Between two runs it counts as running, without an address.
        Some(true) if state.restarting.or_default() => return Ok(Inspected::NotRunning),
        Some(true) => {}
    }
    let mut notes = Notes::default();
    let host_config = answer.host_config.or_default();
    let settings = answer.network_settings.or_default();
    let config = answer.config.or_default();
    let endpoints = endpoints(settings.networks, &mut notes);
    let ports = ports::inspected(settings.ports, "Ports", &mut notes);
    let bindings = ports::inspected(host_config.port_bindings, "PortBindings", &mut notes);
    let container = Container {
        id: id.to_owned(),
        name: bare_name(&answer.name.or_default()),
        image: config.image.text(),
        start: Start {
            sequence: 0,
            at: nanoseconds(&state.started_at.or_default()),
        },
        created: nanoseconds(&answer.created.or_default()) / 1_000_000_000,
        network_mode: host_config.network_mode.text(),
        endpoints,
        ports: ports.unwrap_or_default(),
        bindings: bindings.map_or(Bindings::Unknown, |rows| Bindings::Known {
            rows,
            publish_all: host_config.publish_all_ports.or_default(),
        }),
        labels: labels(config.labels, &mut notes),
        unreadable: notes.list,
    };
    Ok(Inspected::Running(Box::new(container)))
}

/// Reads the process id from the answer to an inspect; 0, which Docker shows of a container that
/// does not run, is none.
///
/// # Errors
/// The text is no JSON object.
pub fn pid(text: &str) -> Result<Option<u32>, Unreadable> {
    let answer: Inspect = parse(text)?;
    let pid = answer.state.or_default().pid.ok();
    Ok(pid.filter(|pid| *pid != 0))
}

fn bare_name(name: &str) -> Untrusted {
    Untrusted::new(name.strip_prefix('/').unwrap_or(name))
}

/// A list row's own name among those that links give it (`/other/alias`).
fn list_name(names: Field<Vec<Field<String>>>) -> Untrusted {
    let names = names.or_default().into_iter().filter_map(Field::ok);
    let names: Vec<String> = names.collect();
    let is_own = |name: &&String| name.strip_prefix('/').is_some_and(|n| !n.contains('/'));
    let name = names.iter().find(is_own).or(names.first());
    bare_name(name.map_or("", String::as_str))
}

/// RFC 3339, as Docker writes it, in nanoseconds since the epoch; 0 where it cannot be read.
fn nanoseconds(text: &str) -> i64 {
    let time = humantime::parse_rfc3339_weak(text).ok();
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let nanoseconds = since.and_then(|since| i64::try_from(since.as_nanos()).ok());
    nanoseconds.unwrap_or(0)
}

fn labels(labels: Field<Labels>, notes: &mut Notes) -> BTreeMap<String, String> {
    let mut read = BTreeMap::new();
    for (name, value) in labels.part("Labels", notes).unwrap_or_default() {
        match value.required() {
            Ok(value) => drop(read.insert(name, value)),
            Err(text) => notes.note(&format!("label {name}"), &text),
        }
    }
    read
}

/// In the order of their names, so that equal snapshots compare equal.
fn endpoints(networks: Field<Networks>, notes: &mut Notes) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for (name, settings) in networks.part("Networks", notes).unwrap_or_default() {
        let Some(settings) = settings.part(&format!("network {name}"), notes) else {
            continue;
        };
        let mut address = |field: Field<String>, key| {
            let what = format!("{key} of network {name}");
            // Docker writes an empty text where there is none.
            let text = field
                .or_note(&what, notes)
                .filter(|text| !text.is_empty())?;
            let address = text.parse().ok();
            if address.is_none() {
                notes.note(&what, &text);
            }
            address
        };
        endpoints.push(Endpoint {
            network_id: settings.network_id.or_default(),
            address: address(settings.address, "GlobalIPv6Address"),
            mac: settings.mac_address.ok().and_then(|mac| mac.parse().ok()),
            gateway: address(settings.gateway, "IPv6Gateway"),
            gw_priority: settings.gw_priority.or_default(),
            left: false,
            network: Untrusted::new(name),
        });
    }
    endpoints
}

#[cfg(test)]
#[path = "container_tests.rs"]
mod tests;

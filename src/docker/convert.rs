//! From the Engine's answers to the model's values. Pure; nothing here can panic.
//!
//! What cannot be read is described in [`Container::unreadable`] and publishes nothing; it never
//! widens what the rest publishes: a binding whose port is malformed keeps its address, and
//! bindings that cannot be read at all are [`Bindings::Unknown`].

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::UNIX_EPOCH;

use serde_json::Value;

use super::error::EngineError;
use super::event::is_id;
use super::json::{MAX_NOTES, Notes, brief, each_row, parse, text_of};
use crate::model::container::{Bindings, Container, Endpoint, HostIp, PortRow, Start};
use crate::model::forward::Proto;
use crate::model::text::Untrusted;

/// An answer that is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable(pub Untrusted);

impl Unreadable {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(Untrusted::new(text))
    }

    /// As the fault of a request.
    pub(super) fn of(self, request: &str) -> EngineError {
        EngineError::Unreadable {
            request: request.to_owned(),
            reason: self.0,
        }
    }
}

/// The answer to a list of running containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List {
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
    /// The row's content; `None` where only an inspect can tell.
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

/// Reads the answer to a list.
///
/// # Errors
/// The text is no JSON list. A row that cannot be read is no error.
pub fn list(text: &str) -> Result<List, Unreadable> {
    let mut list = List::default();
    each_row(text, |row| {
        let Some(id) = row["Id"].as_str().filter(|id| is_id(id)) else {
            if list.odd.len() < MAX_NOTES {
                list.odd.push(Untrusted::new(format!(
                    "a row of the container list without an id: {}",
                    brief(&row)
                )));
            }
            return;
        };
        // Between two runs a container is listed without an address; its start is an event.
        if row["State"] == "restarting" {
            return;
        }
        let mut notes = Notes::default();
        let container = Container {
            id: id.to_owned(),
            name: list_name(&row["Names"]),
            start: Start::default(),
            created: row["Created"].as_i64().unwrap_or(0),
            network_mode: text_of(&row["HostConfig"]["NetworkMode"]),
            endpoints: endpoints(&row["NetworkSettings"]["Networks"], &mut notes),
            ports: sorted(list_ports(&row["Ports"], &mut notes)),
            bindings: Bindings::Unknown,
            labels: labels(&row["Labels"], &mut notes),
            unreadable: notes.list,
        };
        list.rows.push(ListRow {
            id: id.to_owned(),
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
    let answer: Value = parse(text)?;
    if answer["Id"] != id {
        return Err(Unreadable::new(format!(
            "it speaks of another container: {}",
            brief(&answer["Id"])
        )));
    }
    let state = &answer["State"];
    match state["Running"].as_bool() {
        None => return Err(Unreadable::new("it does not say whether it runs")),
        Some(false) => return Ok(Inspected::NotRunning),
        // Between two runs it counts as running, without an address.
        Some(true) if state["Restarting"] == true => return Ok(Inspected::NotRunning),
        Some(true) => {}
    }
    let mut notes = Notes::default();
    let host_config = &answer["HostConfig"];
    let settings = &answer["NetworkSettings"];
    let container = Container {
        id: id.to_owned(),
        name: bare_name(answer["Name"].as_str().unwrap_or_default()),
        start: Start {
            heard: 0,
            at: nanoseconds(&state["StartedAt"]),
        },
        created: nanoseconds(&answer["Created"]) / 1_000_000_000,
        network_mode: text_of(&host_config["NetworkMode"]),
        endpoints: endpoints(&settings["Networks"], &mut notes),
        ports: sorted(port_map(&settings["Ports"], "Ports", &mut notes).unwrap_or_default()),
        bindings: match port_map(&host_config["PortBindings"], "PortBindings", &mut notes) {
            Some(rows) => Bindings::Known {
                rows: sorted(rows),
                publish_all: host_config["PublishAllPorts"] == true,
            },
            None => Bindings::Unknown,
        },
        labels: labels(&answer["Config"]["Labels"], &mut notes),
        unreadable: notes.list,
    };
    Ok(Inspected::Running(Box::new(container)))
}

fn bare_name(name: &str) -> Untrusted {
    Untrusted::new(name.strip_prefix('/').unwrap_or(name))
}

/// A list row's own name among those that links give it (`/other/alias`).
fn list_name(names: &Value) -> Untrusted {
    let names = || {
        names
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
    };
    let own = |name: &&str| name.strip_prefix('/').is_some_and(|n| !n.contains('/'));
    bare_name(names().find(own).or(names().next()).unwrap_or_default())
}

/// RFC 3339, as Docker writes it, in nanoseconds since the epoch; 0 where it cannot be read.
fn nanoseconds(value: &Value) -> i64 {
    let time = value.as_str().map(humantime::parse_rfc3339_weak);
    let since = time
        .and_then(Result::ok)
        .map(|t| t.duration_since(UNIX_EPOCH));
    match since {
        Some(Ok(since)) => i64::try_from(since.as_nanos()).unwrap_or(0),
        _ => 0,
    }
}

fn labels(value: &Value, notes: &mut Notes) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (name, value) in notes.object("Labels", value).into_iter().flatten() {
        match value {
            Value::String(text) => {
                labels.insert(name.clone(), text.clone());
            }
            _ => notes.note(&format!("label {name}"), value),
        }
    }
    labels
}

fn endpoints(networks: &Value, notes: &mut Notes) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for (name, network) in notes.object("Networks", networks).into_iter().flatten() {
        let Some(fields) = notes.object(&format!("network {name}"), network) else {
            continue;
        };
        let mut address = |key: &str| match fields.get(key).unwrap_or(&Value::Null) {
            Value::Null => None,
            Value::String(text) if text.is_empty() => None,
            value => {
                let parsed = value.as_str().and_then(|t| t.parse::<Ipv6Addr>().ok());
                if parsed.is_none() {
                    notes.note(&format!("{key} of network {name}"), value);
                }
                parsed
            }
        };
        endpoints.push(Endpoint {
            network: Untrusted::new(name.as_str()),
            network_id: fields
                .get("NetworkID")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            address: address("GlobalIPv6Address"),
            mac: fields
                .get("MacAddress")
                .and_then(Value::as_str)
                .and_then(|text| text.parse().ok()),
            gateway: address("IPv6Gateway"),
            gw_priority: fields
                .get("GwPriority")
                .and_then(Value::as_i64)
                .unwrap_or(0),
            left: false,
        });
    }
    // An object of JSON has no order; a snapshot has one, so that equal ones compare equal.
    endpoints.sort_by(|a, b| a.network.cmp(&b.network));
    endpoints
}

/// `Ports` of a list row: a list of `{IP, PrivatePort, PublicPort, Type}`.
fn list_ports(value: &Value, notes: &mut Notes) -> Vec<PortRow> {
    let mut ports = Vec::new();
    let rows = match value {
        Value::Array(rows) => rows.as_slice(),
        Value::Null => &[],
        _ => {
            notes.structure = true;
            notes.note("Ports", value);
            &[]
        }
    };
    for row in rows {
        let number = |key: &str| match &row[key] {
            Value::Null => Some(0),
            value => value.as_u64().and_then(|n| u16::try_from(n).ok()),
        };
        let proto = row["Type"].as_str().and_then(|t| t.parse::<Proto>().ok());
        let numbers = (number("PrivatePort"), number("PublicPort"));
        match (proto, numbers) {
            (Some(proto), (Some(container_port), Some(host_port))) if container_port != 0 => {
                ports.push(PortRow {
                    proto,
                    container_port,
                    host_ip: host_ip(&row["IP"]),
                    host_port: (host_port != 0).then_some(host_port),
                });
            }
            _ => notes.note("port", row),
        }
    }
    ports
}

/// A map from `80/tcp` to a list of `{HostIp, HostPort}`, as inspect gives it twice. `None`
/// where it is something else altogether.
fn port_map(value: &Value, what: &str, notes: &mut Notes) -> Option<Vec<PortRow>> {
    let mut ports = Vec::new();
    let map = match value {
        Value::Null => return Some(ports),
        _ => notes.object(what, value)?,
    };
    for (key, bindings) in map {
        let Some((container_port, proto)) = port_key(key) else {
            notes.note(&format!("{what} {key}"), bindings);
            continue;
        };
        let row = |host_ip, host_port| PortRow {
            proto,
            container_port,
            host_ip,
            host_port,
        };
        match bindings {
            Value::Null => ports.push(row(HostIp::Empty, None)),
            Value::Array(list) if list.is_empty() => ports.push(row(HostIp::Empty, None)),
            Value::Array(list) => {
                for binding in list {
                    let host_port = host_port(&binding["HostPort"]);
                    if host_port.is_err() || !binding.is_object() {
                        notes.note(&format!("{what} {key}"), binding);
                    }
                    let host_ip = match binding {
                        Value::Object(_) => host_ip(&binding["HostIp"]),
                        other => HostIp::Malformed(Untrusted::new(brief(other))),
                    };
                    ports.push(row(host_ip, host_port.unwrap_or(None)));
                }
            }
            _ => {
                notes.note(&format!("{what} {key}"), bindings);
                let host_ip = HostIp::Malformed(Untrusted::new(brief(bindings)));
                ports.push(row(host_ip, None));
            }
        }
    }
    Some(ports)
}

/// `80/tcp`; without a protocol it is tcp, as in Docker.
fn port_key(key: &str) -> Option<(u16, Proto)> {
    let (port, proto) = key.split_once('/').unwrap_or((key, "tcp"));
    Some((plain_port(port)?, proto.parse().ok()?))
}

/// Digits only, and not 0.
fn plain_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// `HostPort`: empty, `0` and a range to choose from (`8000-8010`) name no port.
fn host_port(value: &Value) -> Result<Option<u16>, ()> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) => text.as_str(),
        _ => return Err(()),
    };
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    if let Some((first, last)) = text.split_once('-') {
        return match (plain_port(first), plain_port(last)) {
            (Some(_), Some(_)) => Ok(None),
            _ => Err(()),
        };
    }
    plain_port(text).map(Some).ok_or(())
}

fn host_ip(value: &Value) -> HostIp {
    match value {
        Value::Null => HostIp::Empty,
        Value::String(text) => HostIp::parse(text),
        other => HostIp::Malformed(Untrusted::new(brief(other))),
    }
}

/// Docker's order is that of its hash tables; a snapshot has one, so that equal ones compare
/// equal.
fn sorted(mut rows: Vec<PortRow>) -> Vec<PortRow> {
    let ip = |ip: &HostIp| match ip {
        HostIp::Empty => (0, 0, String::new()),
        HostIp::V4(v4) => (1, u128::from(v4.to_bits()), String::new()),
        HostIp::V6(v6) => (2, v6.to_bits(), String::new()),
        HostIp::Malformed(text) => (3, 0, text.raw().to_owned()),
    };
    rows.sort_by_cached_key(|r| (r.proto, r.container_port, r.host_port, ip(&r.host_ip)));
    rows.dedup();
    rows
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;

//! From the Engine's port rows and bindings to the model's. Pure; nothing here can panic.
//!
//! What cannot be read never widens what the rest publishes: a binding whose port is malformed
//! keeps its address, and one that cannot be read at all has an address that opens nothing.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::lenient::{Field, Notes};
use crate::model::container::{HostIp, PortRow};
use crate::model::forward::Proto;
use crate::model::text::Untrusted;

/// One of `Ports` in a row of the list of containers.
#[derive(Deserialize)]
#[serde(try_from = "ListPort")]
pub(super) struct ListedPort(PortRow);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListPort {
    #[serde(rename = "IP")]
    ip: Field<String>,
    private_port: Field<u16>,
    public_port: Field<u16>,
    #[serde(rename = "Type")]
    proto: Field<String>,
}

/// `Ports` and `PortBindings` of an inspect: by `80/tcp`, a list of bindings.
pub(super) type PortMap = BTreeMap<String, Field<Vec<Field<Binding>>>>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Binding {
    host_ip: Field<String>,
    host_port: Field<HostPort>,
}

#[derive(Default, Deserialize)]
#[serde(try_from = "String")]
struct HostPort(Option<u16>);

impl TryFrom<ListPort> for ListedPort {
    type Error = &'static str;

    fn try_from(port: ListPort) -> Result<Self, Self::Error> {
        let number = |field| match field {
            Field::Absent => Some(0),
            field => field.ok(),
        };
        let row = || {
            let proto: Proto = port.proto.ok()?.parse().ok()?;
            let container_port = number(port.private_port).filter(|port| *port != 0)?;
            let host_port = number(port.public_port)?;
            Some(PortRow {
                proto,
                container_port,
                host_ip: host_ip(port.ip),
                host_port: (host_port != 0).then_some(host_port),
            })
        };
        row().map(Self).ok_or("no port")
    }
}

impl TryFrom<String> for HostPort {
    type Error = &'static str;

    /// Empty, `0` and a range to choose from (`8000-8010`) name no port.
    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.is_empty() || text == "0" {
            return Ok(Self(None));
        }
        if let Some((first, last)) = text.split_once('-') {
            let range = plain_port(first).zip(plain_port(last));
            return range.map(|_| Self(None)).ok_or("no range");
        }
        let port = plain_port(&text).ok_or("no port")?;
        Ok(Self(Some(port)))
    }
}

/// The ports of a row in the list of containers.
pub(super) fn listed(ports: Field<Vec<Field<ListedPort>>>, notes: &mut Notes) -> Vec<PortRow> {
    let mut rows = Vec::new();
    for port in ports.part("Ports", notes).into_iter().flatten() {
        match port.required() {
            Ok(ListedPort(row)) => rows.push(row),
            Err(text) => notes.note("port", &text),
        }
    }
    sorted(rows)
}

/// The ports of an inspect; `None` where it has no map of them.
pub(super) fn inspected(
    ports: Field<PortMap>,
    what: &str,
    notes: &mut Notes,
) -> Option<Vec<PortRow>> {
    let map = match ports {
        Field::Absent => PortMap::new(),
        ports => ports.part(what, notes)?,
    };
    let mut rows = Vec::new();
    for (key, bindings) in map {
        let what = format!("{what} {key}");
        let Some((container_port, proto)) = port_key(&key) else {
            notes.note(&what, "not a port of a known protocol");
            continue;
        };
        let bindings = match bindings {
            Field::Absent => Vec::new(),
            Field::Read(bindings) => bindings,
            Field::Odd(text) => vec![Field::Odd(text)],
        };
        let mut push = |host_ip, host_port| {
            rows.push(PortRow {
                proto,
                container_port,
                host_ip,
                host_port,
            });
        };
        if bindings.is_empty() {
            push(HostIp::Empty, None);
        }
        for binding in bindings {
            match binding.required() {
                Ok(binding) => {
                    let port = binding.host_port.or_note(&what, notes);
                    push(host_ip(binding.host_ip), port.unwrap_or_default().0);
                }
                Err(text) => {
                    notes.note(&what, &text);
                    push(HostIp::Malformed(Untrusted::new(text)), None);
                }
            }
        }
    }
    Some(sorted(rows))
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

fn host_ip(field: Field<String>) -> HostIp {
    match field {
        Field::Absent => HostIp::Empty,
        Field::Read(text) => HostIp::parse(&text),
        Field::Odd(text) => HostIp::Malformed(Untrusted::new(text)),
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

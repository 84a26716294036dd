//! From the Engine's list of networks to the model's. Pure; nothing here can panic.
//!
//! What cannot be read never widens anything: it counts as the most restrictive of what it may
//! mean (internal, a gateway mode that wants nothing from us, no masquerade, no subnet), and is
//! described.

use std::net::Ipv6Addr;

use ipnet::{IpNet, Ipv6Net};
use serde_json::{Map, Value};

use super::convert::Unreadable;
use super::event::is_id;
use super::json::{MAX_NOTES, Notes, brief, each_row, parse, text_of};
use crate::model::container::{GatewayMode, Network};
use crate::model::text::Untrusted;

/// How the bridge treats IPv6 (Engine 27).
const GATEWAY_MODE: &str = "com.docker.network.bridge.gateway_mode_ipv6";

/// Whether the bridge masquerades.
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";

/// The name of the bridge's interface.
const BRIDGE: &str = "com.docker.network.bridge.name";

/// The source address of what leaves the bridge (Engine 25).
const HOST_IPV6: &str = "com.docker.network.host_ipv6";

/// The answer to a list of networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    /// The rows with an id.
    pub rows: Vec<Network>,
    /// What could not be read, described.
    pub odd: Vec<Untrusted>,
}

/// Reads the answer to a list of networks.
///
/// # Errors
/// The text is no JSON list. A row that cannot be read is no error.
pub fn list(text: &str) -> Result<Networks, Unreadable> {
    let mut networks = Networks::default();
    let mut nameless = 0;
    each_row(text, |row| {
        let Some(id) = row["Id"].as_str().filter(|id| is_id(id)) else {
            nameless += 1;
            if nameless <= MAX_NOTES {
                let text = format!("a row without an id: {}", brief(&row));
                networks.odd.push(Untrusted::new(text));
            }
            return;
        };
        let mut notes = Notes::default();
        networks.rows.push(network(id, &row, &mut notes));
        let name = row["Name"].as_str().unwrap_or(id);
        let described = notes.list.iter().map(|note| {
            let text = format!("network {name}: {}", note.raw());
            Untrusted::new(text)
        });
        networks.odd.extend(described);
    })?;
    Ok(networks)
}

/// Reads the answer to an inspect of the network `id`: the containers on it, also those that are
/// still being started, each with its IPv6 address there. What cannot be read is passed over.
///
/// # Errors
/// The text is no JSON object, or speaks of another network.
pub fn holders(id: &str, text: &str) -> Result<Vec<(Ipv6Addr, String)>, Unreadable> {
    let answer: Value = parse(text)?;
    if answer["Id"] != id {
        return Err(Unreadable::new("it speaks of another network"));
    }
    let held = |(container, endpoint): (&String, &Value)| {
        let net: Ipv6Net = endpoint["IPv6Address"].as_str()?.parse().ok()?;
        is_id(container).then(|| (net.addr(), container.clone()))
    };
    let containers = answer["Containers"].as_object().into_iter().flatten();
    Ok(containers.filter_map(held).collect())
}

fn network(id: &str, row: &Value, notes: &mut Notes) -> Network {
    let none = Map::new();
    // Options that are no object could have said anything.
    let options = notes.object("Options", &row["Options"]);
    let unreadable = notes.structure;
    let options = options.unwrap_or(&none);
    let host_ipv6 = options.get(HOST_IPV6).map(|v| source(v, notes));
    let masquerade = match options.get(MASQUERADE) {
        None => true,
        Some(value) => value.as_str().and_then(go_bool).unwrap_or_else(|| {
            notes.note(MASQUERADE, value);
            false
        }),
    };
    let gateway_mode = match options.get(GATEWAY_MODE) {
        None if unreadable => GatewayMode::Unknown(Untrusted::default()),
        None => GatewayMode::Nat,
        Some(value) => gateway_mode(value, notes),
    };
    let driver = text_of(&row["Driver"]);
    let given = options.get(BRIDGE).and_then(Value::as_str);
    let given = given.filter(|name| !name.is_empty());
    let bridge = given.map_or_else(|| format!("br-{}", short(id)), str::to_owned);
    Network {
        id: id.to_owned(),
        name: text_of(&row["Name"]),
        bridge: bridge.parse().ok().filter(|_| driver.raw() == "bridge"),
        driver,
        ingress: row["Ingress"] == true,
        internal: flag(&row["Internal"], "Internal", notes).unwrap_or(true),
        subnets: match flag(&row["EnableIPv6"], "EnableIPv6", notes) {
            Some(true) => subnets(&row["IPAM"], notes),
            _ => Vec::new(),
        },
        gateway_mode,
        // With a source that cannot be read, any other source would be the wrong one.
        masquerade: masquerade && !unreadable && host_ipv6 != Some(None),
        host_ipv6: host_ipv6.flatten(),
    }
}

/// The digits of an id that name its bridge.
fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

/// `None` where it is neither true nor false; absent is false.
fn flag(value: &Value, what: &str, notes: &mut Notes) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Null => Some(false),
        _ => {
            notes.note(what, value);
            None
        }
    }
}

/// The words that Go's `strconv.ParseBool` takes, which is what reads this option in Docker.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn gateway_mode(value: &Value, notes: &mut Notes) -> GatewayMode {
    match value.as_str() {
        Some("nat") => GatewayMode::Nat,
        Some("nat-unprotected") => GatewayMode::NatUnprotected,
        Some("routed") => GatewayMode::Routed,
        Some("isolated") => GatewayMode::Isolated,
        other => {
            notes.note(GATEWAY_MODE, value);
            let text = other.map_or_else(|| brief(value), str::to_owned);
            GatewayMode::Unknown(Untrusted::new(text))
        }
    }
}

/// An address that packets can be sent from.
fn source(value: &Value, notes: &mut Notes) -> Option<Ipv6Addr> {
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    let addr = parsed.filter(|addr: &Ipv6Addr| {
        let unfit = addr.is_unspecified() || addr.is_loopback() || addr.is_multicast();
        !unfit && addr.to_ipv4_mapped().is_none()
    });
    if addr.is_none() {
        notes.note(HOST_IPV6, value);
    }
    addr
}

fn subnets(ipam: &Value, notes: &mut Notes) -> Vec<Ipv6Net> {
    let config = match &ipam["Config"] {
        Value::Array(list) => list.as_slice(),
        Value::Null => &[],
        other => {
            notes.note("IPAM.Config", other);
            &[]
        }
    };
    let mut subnets = Vec::new();
    for part in config {
        match part["Subnet"].as_str().map(str::parse) {
            Some(Ok(IpNet::V4(_))) => {}
            Some(Ok(IpNet::V6(net))) if is_containers_own(&net) => subnets.push(net.trunc()),
            _ => notes.note("subnet", part),
        }
    }
    // Docker's order is that of its hash tables.
    subnets.sort();
    subnets.dedup();
    subnets
}

/// Whether containers can have addresses of this subnet. One that holds half of the world, or
/// what is no unicast address, is a mistake of somebody's.
fn is_containers_own(net: &Ipv6Net) -> bool {
    let addr = net.network();
    net.prefix_len() >= MIN_PREFIX_LEN
        && !(addr.is_multicast() || addr.is_loopback() || addr.is_unicast_link_local())
        && addr.to_ipv4_mapped().is_none()
}

/// A registry hands out nothing wider than a /12 (RFC 4291 leaves them /3); a network of
/// containers that is wider than this is taken for a mistake.
const MIN_PREFIX_LEN: u8 = 8;

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;

//! From the Engine's list of networks to the model's. Pure; nothing here can panic.
//!
//! What cannot be read never widens anything: it counts as the most restrictive of what it may
//! mean (internal, a gateway mode that wants nothing from us, no masquerade, no subnet), and is
//! described.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use ipnet::{IpNet, Ipv6Net};
use serde::Deserialize;

use super::error::Unreadable;
use super::event::is_id;
use super::lenient::{Field, MAX_NOTES, Notes, each_row, parse, start};
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
pub struct NetworkList {
    /// The rows with an id.
    pub rows: Vec<Network>,
    /// What could not be read, described.
    pub odd: Vec<Untrusted>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    id: Field<String>,
    name: Field<String>,
    driver: Field<String>,
    ingress: Field<bool>,
    internal: Field<bool>,
    #[serde(rename = "EnableIPv6")]
    enable_ipv6: Field<bool>,
    options: Field<Options>,
    #[serde(rename = "IPAM")]
    ipam: Field<Ipam>,
}

/// An option that is `null` is one that cannot be read, not an absent one.
type Options = BTreeMap<String, Field<String>>;

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ipam {
    config: Field<Vec<Field<IpamConfig>>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct IpamConfig {
    subnet: Field<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspect {
    id: Field<String>,
    containers: Field<BTreeMap<String, Field<Member>>>,
}

#[derive(Default, Deserialize)]
struct Member {
    #[serde(rename = "IPv6Address")]
    address: Field<String>,
}

/// Reads the answer to a list of networks.
///
/// # Errors
/// The text is no JSON list. A row that cannot be read is no error.
pub fn list(text: &str) -> Result<NetworkList, Unreadable> {
    let mut networks = NetworkList::default();
    let mut nameless = 0;
    each_row(text, |text, row: Field<Row>| {
        let mut row = row.or_default();
        let Some(id) = std::mem::take(&mut row.id).ok().filter(|id| is_id(id)) else {
            nameless += 1;
            if nameless <= MAX_NOTES {
                let text = format!("a row without an id: {}", start(text));
                networks.odd.push(Untrusted::new(text));
            }
            return;
        };
        let mut notes = Notes::default();
        let network = network(id, row, &mut notes);
        let name = match network.name.raw() {
            "" => &network.id,
            name => name,
        };
        for note in notes.list {
            let text = format!("network {name}: {}", note.raw());
            networks.odd.push(Untrusted::new(text));
        }
        networks.rows.push(network);
    })?;
    Ok(networks)
}

/// Reads the answer to an inspect of the network `id`: the containers on it, also those that are
/// still being started, each with its IPv6 address there. What cannot be read is passed over.
///
/// # Errors
/// The text is no JSON object, or speaks of another network.
pub(crate) fn holders(id: &str, text: &str) -> Result<Vec<(Ipv6Addr, String)>, Unreadable> {
    let answer: Inspect = parse(text)?;
    if answer.id.ok().as_deref() != Some(id) {
        return Err(Unreadable::new("it speaks of another network"));
    }
    let members = answer.containers.or_default().into_iter();
    let held = members.filter_map(|(container, member)| {
        let net: Ipv6Net = member.or_default().address.ok()?.parse().ok()?;
        is_id(&container).then(|| (net.addr(), container))
    });
    Ok(held.collect())
}

fn network(id: String, row: Row, notes: &mut Notes) -> Network {
    let options = row.options.part("Options", notes);
    // Options that are no object could have said anything.
    let unreadable = notes.structure;
    let mut options = options.unwrap_or_default();
    let host_ipv6 = option(&mut options, HOST_IPV6, source, notes);
    let masquerade = option(&mut options, MASQUERADE, go_bool, notes);
    let gateway_mode = match option(&mut options, GATEWAY_MODE, gateway_mode, notes) {
        None if unreadable => GatewayMode::Unknown(Untrusted::default()),
        None => GatewayMode::Nat,
        Some(mode) => mode.unwrap_or_else(GatewayMode::Unknown),
    };
    let driver = row.driver.text();
    let given = options.remove(BRIDGE).and_then(Field::ok);
    let given = given.filter(|name| !name.is_empty());
    let bridge = given.unwrap_or_else(|| format!("br-{}", short(&id)));
    Network {
        name: row.name.text(),
        bridge: bridge.parse().ok().filter(|_| driver.raw() == "bridge"),
        driver,
        ingress: row.ingress.or_default(),
        internal: flag(row.internal, "Internal", notes).unwrap_or(true),
        subnets: match flag(row.enable_ipv6, "EnableIPv6", notes) {
            Some(true) => subnets(row.ipam.or_default(), notes),
            _ => Vec::new(),
        },
        gateway_mode,
        // With a source that cannot be read, any other source would be the wrong one.
        masquerade: masquerade.is_none_or(|on| on == Ok(true))
            && !unreadable
            && host_ipv6.as_ref().is_none_or(Result::is_ok),
        host_ipv6: host_ipv6.and_then(Result::ok),
        id,
    }
}

/// An option; `Err` with what it says where that cannot be read, which is noted.
fn option<T>(
    options: &mut Options,
    name: &str,
    read: impl Fn(&str) -> Option<T>,
    notes: &mut Notes,
) -> Option<Result<T, Untrusted>> {
    let text = options.remove(name)?.required();
    let read = text.and_then(|text| read(&text).ok_or(text));
    Some(read.map_err(|text| {
        notes.note(name, &text);
        Untrusted::new(text)
    }))
}

/// The digits of an id that name its bridge.
fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

/// `None` where it is neither true nor false; absent is false.
fn flag(field: Field<bool>, what: &str, notes: &mut Notes) -> Option<bool> {
    match field {
        Field::Absent => Some(false),
        field => field.or_note(what, notes),
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

fn gateway_mode(text: &str) -> Option<GatewayMode> {
    match text {
        "nat" => Some(GatewayMode::Nat),
        "nat-unprotected" => Some(GatewayMode::NatUnprotected),
        "routed" => Some(GatewayMode::Routed),
        "isolated" => Some(GatewayMode::Isolated),
        _ => None,
    }
}

/// An address that packets can be sent from.
fn source(text: &str) -> Option<Ipv6Addr> {
    text.parse().ok().filter(|addr: &Ipv6Addr| {
        let unfit = addr.is_unspecified() || addr.is_loopback() || addr.is_multicast();
        !unfit && addr.to_ipv4_mapped().is_none()
    })
}

fn subnets(ipam: Ipam, notes: &mut Notes) -> Vec<Ipv6Net> {
    let mut subnets = Vec::new();
    let config = ipam.config.or_note("IPAM.Config", notes);
    for part in config.into_iter().flatten() {
        let (Ok(text) | Err(text)) = part.or_default().subnet.required();
        match text.parse() {
            Ok(IpNet::V4(_)) => {}
            Ok(IpNet::V6(net)) if is_containers_own(&net) => subnets.push(net.trunc()),
            _ => notes.note("subnet", &text),
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

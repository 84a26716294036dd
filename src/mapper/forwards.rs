//! From a snapshot to forwards: which container address each published port goes to.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::publish::{Closed, Reach, reach};
use crate::model::container::{Container, Endpoint, PortRow, Snapshot};
use crate::model::forward::{Forward, Owner, Proto};
use crate::model::text::Untrusted;

/// What bounds the mapping, besides what Docker says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Prefixes that containers' addresses must lie in.
    pub prefixes: Vec<Ipv6Net>,
    /// The host's own addresses: never a target.
    pub host_addrs: BTreeSet<Ipv6Addr>,
}

/// The outcome of a mapping.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// One entry per published port and container; no two with one key and different targets.
    pub forwards: Vec<Forward>,
    /// What opens nothing, and why.
    pub skipped: Vec<Skipped>,
}

/// A container or one of its published ports that opens nothing over IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Full id of the container.
    pub container_id: String,
    /// Name of the container.
    pub container_name: Untrusted,
    /// The port; `None` for all of the container's.
    pub port: Option<(Proto, u16)>,
    /// Why.
    pub reason: Reason,
}

/// Why something opens nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The binding does not reach IPv6.
    Closed(Closed),
    /// The container has no network of its own (`host`, `none`, `container:ID`).
    NoOwnNetwork(Untrusted),
    /// None of the container's addresses lies in a prefix; carries those it has.
    NoAddress(Vec<Ipv6Addr>),
    /// The container's address must never be a target.
    Refused(Ipv6Addr, Refusal),
    /// The port is zero.
    PortZero,
    /// Another container published the same port later.
    TakenBy(String),
    /// A row of Docker's answer that could not be read.
    Unreadable(Untrusted),
}

/// Why an address is never a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is the host's own: a DNAT to it would publish the host's own port.
    HostsOwn,
    /// It is the network's gateway, which is the host.
    Gateway,
    /// It is the prefix's subnet-router anycast address (RFC 4291, 2.6.1).
    SubnetRouter,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(closed) => closed.fmt(f),
            Self::NoOwnNetwork(mode) => {
                write!(f, "network mode \"{mode}\" has no address of its own")
            }
            Self::NoAddress(has) if has.is_empty() => {
                write!(f, "the container has no IPv6 address")
            }
            Self::NoAddress(has) => {
                write!(f, "no address of the container lies in a --prefix, it has")?;
                has.iter().try_for_each(|addr| write!(f, " {addr}"))
            }
            Self::Refused(addr, Refusal::HostsOwn) => write!(f, "{addr} is the host's own address"),
            Self::Refused(addr, Refusal::Gateway) => write!(f, "{addr} is the network's gateway"),
            Self::Refused(addr, Refusal::SubnetRouter) => {
                write!(f, "{addr} is the prefix's own address")
            }
            Self::PortZero => write!(f, "port 0 cannot be forwarded"),
            Self::TakenBy(id) => write!(f, "the port belongs to container {id}"),
            Self::Unreadable(what) => write!(f, "cannot be read: {what}"),
        }
    }
}

/// Maps a snapshot to forwards.
pub fn resolve(snapshot: &Snapshot, bounds: &Bounds) -> Resolved {
    let mut resolved = Resolved::default();
    // The newest container first: where Docker shows one port twice, the older row is a
    // container on its way out.
    let mut containers: Vec<&Container> = snapshot.containers.values().collect();
    containers.sort_by_key(|c| (Reverse(c.created), Reverse(&c.id)));
    let mut taken = BTreeMap::new();
    for container in containers {
        resolve_container(container, bounds, &mut taken, &mut resolved);
    }
    resolved.forwards.sort();
    resolved.forwards.dedup();
    resolved
}

/// Host side of a forward: protocol, address, port.
type HostKey = (Proto, Option<Ipv6Addr>, u16);

/// Who holds a host port, and the target it leads to.
type Taken = BTreeMap<HostKey, (String, Ipv6Addr, u16)>;

fn resolve_container(
    container: &Container,
    bounds: &Bounds,
    taken: &mut Taken,
    resolved: &mut Resolved,
) {
    let skip = |port, reason| Skipped {
        container_id: container.id.clone(),
        container_name: container.name.clone(),
        port,
        reason,
    };
    for what in &container.unreadable {
        resolved
            .skipped
            .push(skip(None, Reason::Unreadable(what.clone())));
    }
    let mut target = None;
    for row in &container.ports {
        let Some(reach) = reach(container, row) else {
            continue;
        };
        let port = row.host_port.map(|port| (row.proto, port));
        let outcome = reach.map_err(Reason::Closed).and_then(|reach| {
            let endpoint = target
                .get_or_insert_with(|| choose(container, bounds))
                .clone()?;
            forward(container, row, reach, &endpoint)
        });
        match outcome {
            Err(reason) => {
                let skipped = skip(port, reason);
                if !resolved.skipped.contains(&skipped) {
                    resolved.skipped.push(skipped);
                }
            }
            Ok(forward) => {
                let key = (forward.proto, forward.host_addr, forward.host_port);
                let holder = taken.entry(key).or_insert_with(|| {
                    let id = container.id.clone();
                    (id, forward.container_addr, forward.container_port)
                });
                if (holder.1, holder.2) == (forward.container_addr, forward.container_port) {
                    resolved.forwards.push(forward);
                } else {
                    let reason = Reason::TakenBy(holder.0.clone());
                    resolved.skipped.push(skip(port, reason));
                }
            }
        }
    }
}

fn forward(
    container: &Container,
    row: &PortRow,
    reach: Reach,
    (network, addr): &(Untrusted, Ipv6Addr),
) -> Result<Forward, Reason> {
    let host_port = row.host_port.filter(|port| *port != 0);
    let (Some(host_port), true) = (host_port, row.container_port != 0) else {
        return Err(Reason::PortZero);
    };
    Ok(Forward {
        proto: row.proto,
        host_addr: match reach {
            Reach::AnyLocal => None,
            Reach::Only(addr) => Some(addr),
        },
        host_port,
        container_addr: *addr,
        container_port: row.container_port,
        owner: Owner {
            container_id: container.id.clone(),
            container_name: container.name.clone(),
            network: network.clone(),
        },
    })
}

/// The endpoint that Docker uses as the container's IPv6 gateway (highest gateway priority,
/// then the network's name) among those whose address lies in a prefix.
fn choose(container: &Container, bounds: &Bounds) -> Result<(Untrusted, Ipv6Addr), Reason> {
    let mode = container.network_mode.raw();
    if mode == "host" || mode == "none" || mode.starts_with("container:") {
        return Err(Reason::NoOwnNetwork(container.network_mode.clone()));
    }
    let mut endpoints: Vec<&Endpoint> = container.endpoints.iter().collect();
    endpoints.sort_by_key(|e| (Reverse(e.gw_priority), e.network.raw()));
    let has: Vec<Ipv6Addr> = endpoints.iter().filter_map(|e| e.address).collect();
    let inside = |addr: &Ipv6Addr| bounds.prefixes.iter().any(|p| p.contains(addr));
    let (endpoint, addr) = endpoints
        .into_iter()
        .find_map(|e| Some((e, e.address.filter(inside)?)))
        .ok_or(Reason::NoAddress(has))?;
    let refusal = if bounds.host_addrs.contains(&addr) {
        Some(Refusal::HostsOwn)
    } else if endpoint.gateway == Some(addr) {
        Some(Refusal::Gateway)
    } else if bounds.prefixes.iter().any(|p| p.network() == addr) {
        Some(Refusal::SubnetRouter)
    } else {
        None
    };
    match refusal {
        Some(refusal) => Err(Reason::Refused(addr, refusal)),
        None => Ok((endpoint.network.clone(), addr)),
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;
    use crate::model::container::{Bindings, HostIp};

    /// A tcp row of container port `inside`.
    pub(crate) fn row(ip: &str, host_port: Option<u16>, inside: u16) -> PortRow {
        PortRow {
            proto: Proto::Tcp,
            container_port: inside,
            host_ip: HostIp::parse(ip),
            host_port,
        }
    }

    /// Bindings of container port 80.
    pub(crate) fn known(rows: &[(&str, Option<u16>)]) -> Bindings {
        Bindings::Known {
            rows: rows.iter().map(|(ip, port)| row(ip, *port, 80)).collect(),
            publish_all: false,
        }
    }

    /// A container on the default bridge at `fd00::2`, publishing 8080 → 80.
    pub(crate) fn container(id: &str) -> Container {
        Container {
            id: id.into(),
            name: Untrusted::new(format!("name-{id}")),
            created: 0,
            network_mode: "default".into(),
            endpoints: vec![Endpoint {
                network: "bridge".into(),
                network_id: "id-bridge".into(),
                address: Some("fd00::2".parse().unwrap()),
                gateway: Some("fd00::1".parse().unwrap()),
                gw_priority: 0,
            }],
            ports: vec![row("0.0.0.0", Some(8080), 80), row("::", Some(8080), 80)],
            bindings: Bindings::Unknown,
            labels: BTreeMap::new(),
            unreadable: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;

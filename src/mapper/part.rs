//! Maps one container to forwards.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::holders::Holders;
use super::labels::{self, LabelFilter};
use super::networks;
use super::publish::{Publication, Scope};
use super::skipped::{Reason, Refusal, Skipped};
use crate::model::container::{Container, Endpoint, PortRow, Snapshot};
use crate::model::forward::{Forward, Owner, Proto};
use crate::model::forwards::Forwards;
use crate::model::text::Untrusted;

/// Which addresses may be targets, besides what Docker says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bounds {
    /// A target lies in one of these prefixes.
    pub prefixes: Vec<Ipv6Net>,
    /// The host's own addresses, which are never targets.
    pub host_addrs: BTreeSet<Ipv6Addr>,
}

/// The outcome of a mapping.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// One entry per published port and container. Entries for the same host port have the same
    /// target.
    pub forwards: Forwards,
    /// Containers and ports that open nothing, with the reason.
    pub skipped: Vec<Skipped>,
}

impl Resolved {
    /// The host ports that are published.
    pub(crate) fn host_ports(&self) -> BTreeSet<(Proto, u16)> {
        let forwards = self.forwards.iter();
        forwards.map(|f| (f.proto, f.host_port)).collect()
    }
}

/// What a container's forwards depend on besides the container.
pub(super) struct Context<'s> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) bounds: &'s Bounds,
    pub(super) holders: &'s Holders<'s>,
}

/// What a container opens, as far as no other container has the same host port.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Sorted, each once.
    pub(super) forwards: Vec<Forward>,
    pub(super) skipped: Vec<Skipped>,
}

/// Maps one container.
pub(super) fn part(context: &Context<'_>, container: &Container) -> Part {
    let mut part = Part::default();
    let skip = |port, reason| skipped(container, port, reason);
    let unreadable = container.unreadable.iter().cloned();
    part.skipped
        .extend(unreadable.map(|what| skip(None, Reason::Unreadable(what))));
    let filter = match labels::read(&container.labels) {
        Ok(filter) => filter,
        Err(closed) => {
            part.skipped.push(skip(None, Reason::Label(closed)));
            return part;
        }
    };
    let networks = container.endpoints.iter();
    let networks = networks.filter_map(|e| context.snapshot.networks.get(&e.network_id));
    if networks.filter(|network| network.ingress).count() > 0 {
        part.skipped.push(skip(None, Reason::SwarmIngress));
    }
    let mut target = None;
    let mut reported = BTreeSet::new();
    let publication = Publication::of(container);
    for row in &container.ports {
        let Some(scope) = publication.scope(row) else {
            continue;
        };
        let port = row.host_port.map(|port| (row.proto, port));
        let outcome = scope.map_err(Reason::NotPublished).and_then(|scope| {
            if !filter.allows(row.proto, row.container_port) {
                return Err(Reason::NotListed);
            }
            let endpoint = target
                .get_or_insert_with(|| {
                    let (network, addr) = choose(context, container)?;
                    let (id, name) = (container.id.clone(), container.name.clone());
                    let image = container.image.clone();
                    Ok((Owner::new(id, name, network).of_image(image), addr))
                })
                .clone()?;
            forward(row, scope, endpoint, &filter)
        });
        match outcome {
            Ok(forward) => part.forwards.push(forward),
            Err(reason) => {
                if reported.insert((port, reason.to_string())) {
                    part.skipped.push(skip(port, reason));
                }
            }
        }
    }
    part.forwards.sort();
    part.forwards.dedup();
    part
}

pub(super) fn skipped(
    container: &Container,
    port: Option<(Proto, u16)>,
    reason: Reason,
) -> Skipped {
    Skipped {
        container_id: container.id.clone(),
        container_name: container.name.clone(),
        port,
        reason,
    }
}

fn forward(
    row: &PortRow,
    scope: Scope,
    (owner, container_addr): (Owner, Ipv6Addr),
    filter: &LabelFilter,
) -> Result<Forward, Reason> {
    let host_port = row.host_port.filter(|port| *port != 0);
    let (Some(host_port), true) = (host_port, row.container_port != 0) else {
        return Err(Reason::PortZero);
    };
    Ok(Forward {
        proto: row.proto,
        host_addr: match scope {
            Scope::AnyLocal => None,
            Scope::Only(addr) => Some(addr),
        },
        host_port,
        container_addr,
        container_port: row.container_port,
        sources: filter.sources.clone(),
        owner,
    })
}

/// The endpoint that Docker uses as the container's IPv6 gateway (highest gateway priority,
/// then the network's name) among those whose address lies in a prefix and whose network
/// forwards ports.
fn choose(context: &Context<'_>, container: &Container) -> Result<(Untrusted, Ipv6Addr), Reason> {
    let Context {
        snapshot,
        bounds,
        holders,
    } = context;
    let mode = container.network_mode.raw();
    if mode == "host" || mode == "none" || mode.starts_with("container:") {
        return Err(Reason::NoOwnNetwork(container.network_mode.clone()));
    }
    let mut endpoints: Vec<&Endpoint> = container.endpoints.iter().collect();
    endpoints.sort_by_key(|e| (Reverse(e.gw_priority), e.network.raw()));
    let has: Vec<Ipv6Addr> = endpoints.iter().filter_map(|e| e.address).collect();
    let inside = |addr: &Ipv6Addr| bounds.prefixes.iter().any(|p| p.contains(addr));
    let within: Vec<(&Endpoint, Ipv6Addr)> = endpoints
        .into_iter()
        .filter_map(|e| Some((e, e.address.filter(inside)?)))
        .collect();
    let reason = |endpoint: &Endpoint| {
        let why = networks::why_not(snapshot, endpoint)?;
        Some(Reason::NotForwarding(endpoint.network.clone(), why))
    };
    let serving = |(endpoint, _): &&(&Endpoint, Ipv6Addr)| reason(endpoint).is_none();
    let Some((endpoint, addr)) = within.iter().find(serving).copied() else {
        // With --prefix auto, a network that forwards no ports gives no prefix either. Its own
        // reason says more than "no address in a prefix".
        let with_address = container.endpoints.iter().filter(|e| e.address.is_some());
        let why: Option<Vec<Reason>> = with_address.map(reason).collect();
        let why = why.and_then(|why| why.into_iter().next());
        return Err(why.unwrap_or(Reason::NoAddress(has)));
    };
    if endpoint.left {
        return Err(Reason::LeftNetwork(endpoint.network.clone()));
    }
    if let Some(other) = holders.other(&addr, &container.id) {
        return Err(Reason::AddressOf(addr, other.to_owned()));
    }
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

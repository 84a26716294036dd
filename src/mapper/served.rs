//! What Docker publishes of one container over IPv6, without regard to our prefixes and labels.

use std::cmp::Reverse;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::holders::Holders;
use super::labels;
use super::networks;
use super::publish::{NotPublished, Publication, Scope};
use super::skipped::{Reason, Skipped};
use crate::model::container::{Container, Endpoint, PortRow, Snapshot};
use crate::model::forward::Sources;
use crate::model::published::{HostForward, Published};

/// Bound only to `0.0.0.0`.
const ANY_V4: NotPublished = NotPublished::BoundToV4(Ipv4Addr::UNSPECIFIED);

/// Adds what a container publishes; Docker's own NAT leads it to `target`.
pub(super) fn add(published: &mut Published, container: &Container, target: Ipv6Addr) {
    let filter = labels::read(&container.labels);
    each(container, target, |row, forward, kind| {
        let is_open = filter.as_ref().is_ok_and(|filter| {
            filter.allows(row.proto, row.container_port) && filter.sources == Sources::Any
        });
        if !is_open {
            published.closed.insert(forward);
        }
        match kind {
            Kind::Outside => {
                published.forwards.insert(forward);
            }
            Kind::Local => {
                published.local.insert(forward);
            }
            Kind::AnyV4 => {
                let line = reported_as_closed(container, &forward).to_string();
                published.any_v4.insert(forward, line);
            }
        }
    });
}

/// Takes the same out again. No other container has an address of it.
pub(super) fn remove(published: &mut Published, container: &Container, target: Ipv6Addr) {
    each(container, target, |_, forward, kind| {
        published.closed.remove(&forward);
        match kind {
            Kind::Outside => drop(published.forwards.remove(&forward)),
            Kind::Local => drop(published.local.remove(&forward)),
            Kind::AnyV4 => drop(published.any_v4.remove(&forward)),
        }
    });
}

fn each(
    container: &Container,
    target: Ipv6Addr,
    mut take: impl FnMut(&PortRow, HostForward, Kind),
) {
    let publication = Publication::of(container);
    for row in &container.ports {
        if let Some((forward, kind)) = forward(&publication, row, target) {
            take(row, forward, kind);
        }
    }
}

/// From where clients reach a row's port over IPv6.
enum Kind {
    Outside,
    /// From the host itself.
    Local,
    /// With Docker's NAT from nowhere, with Podman's from outside: see [`Published::any_v4`].
    AnyV4,
}

/// A row's forward, and from where clients reach it.
fn forward(
    publication: &Publication<'_>,
    row: &PortRow,
    addr: Ipv6Addr,
) -> Option<(HostForward, Kind)> {
    let (host_addr, kind) = match publication.scope(row)? {
        Ok(Scope::AnyLocal) => (None, Kind::Outside),
        Ok(Scope::Only(addr)) => (Some(addr), Kind::Outside),
        Err(NotPublished::NotRoutable(addr)) => (Some(addr), Kind::Local),
        Err(ANY_V4) => (None, Kind::AnyV4),
        Err(_) => return None,
    };
    let forward = HostForward {
        proto: row.proto,
        host_addr,
        host_port: row.host_port?,
        target: (addr, row.container_port),
    };
    Some((forward, kind))
}

/// The report that [`super::part`] makes of this port.
fn reported_as_closed(container: &Container, forward: &HostForward) -> Skipped {
    Skipped {
        container_id: container.id.clone(),
        container_name: container.name.clone(),
        port: Some((forward.proto, forward.host_port)),
        reason: Reason::NotPublished(ANY_V4),
    }
}

/// The container's address to which Docker's NAT leads: that on the network of its IPv6 gateway,
/// which is never an internal one. `None` if that network forwards no ports.
pub(super) fn target(
    snapshot: &Snapshot,
    container: &Container,
    holders: &Holders<'_>,
) -> Option<Ipv6Addr> {
    let is_internal = |endpoint: &Endpoint| {
        let network = snapshot.networks.get(&endpoint.network_id);
        network.is_some_and(|network| network.internal)
    };
    let endpoints = container.endpoints.iter().filter(|endpoint| !endpoint.left);
    let gateway = endpoints
        .filter(|endpoint| endpoint.address.is_some() && !is_internal(endpoint))
        .min_by_key(|endpoint| (Reverse(endpoint.gw_priority), endpoint.network.raw()))?;
    let addr = gateway.address?;
    let is_own = holders.other(&addr, &container.id).is_none();
    (is_own && networks::serves(snapshot, gateway)).then_some(addr)
}

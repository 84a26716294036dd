//! Decides which container holds an address.
//!
//! When a container ends, an Engine gives its address to the next one before it announces the end
//! (0.6 to 0.9 s before on Engine 28.5; network events and `die` come after the teardown). So
//! Docker may show two containers with one address. The one that started last holds it, or the one
//! that is about to start with it.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use crate::model::change::Undecided;
use crate::model::container::{Container, Snapshot, Start};

/// Orders containers by their start, and by their creation where Docker does not give the start.
type Order<'s> = (Start, i64, &'s str);

/// A container's place in the order of starts.
pub(super) fn order(container: &Container) -> Order<'_> {
    (container.start, container.created, &container.id)
}

/// The container that holds each address.
#[derive(Debug, Default)]
pub(super) struct Holders<'s> {
    by_addr: BTreeMap<Ipv6Addr, Order<'s>>,
    /// Whether some address has more than one candidate.
    pub(super) contested: bool,
}

impl<'s> Holders<'s> {
    pub(super) fn of(snapshot: &'s Snapshot) -> Self {
        let mut holders = Self::default();
        let mut claim = |addr, order: Order<'s>| {
            let holder = holders.by_addr.entry(addr).or_insert(order);
            holders.contested |= holder.2 != order.2;
            *holder = (*holder).max(order);
        };
        for container in snapshot.containers.values() {
            let there = container.endpoints.iter().filter(|e| !e.left);
            for addr in there.filter_map(|e| e.address) {
                claim(addr, order(container));
            }
        }
        for (addr, next) in &snapshot.claims {
            let start = Start {
                sequence: next.sequence,
                at: i64::MAX,
            };
            claim(*addr, (start, i64::MAX, &next.container_id));
        }
        holders
    }

    /// The full id of the container that holds `addr`, if it is not `id`.
    pub(super) fn other(&self, addr: &Ipv6Addr, id: &str) -> Option<&'s str> {
        let (_, _, holder) = self.by_addr.get(addr)?;
        (*holder != id).then_some(*holder)
    }
}

/// The containers that Docker has not answered about, and the addresses that they no longer hold.
pub(super) fn undecided(snapshot: &Snapshot) -> Undecided {
    if snapshot.unanswered.is_empty() {
        return Undecided::default();
    }
    let holders = Holders::of(snapshot).by_addr;
    let endpoints = snapshot.containers.values().flat_map(|c| &c.endpoints);
    let left = endpoints.filter(|e| e.left);
    Undecided {
        left: left.filter_map(|e| e.address).collect(),
        containers: snapshot.unanswered.keys().cloned().collect(),
        holders: holders
            .into_iter()
            .map(|(addr, (_, _, id))| (addr, id.to_owned()))
            .collect(),
    }
}

//! Whom a container's address belongs to.
//!
//! An Engine gives the address of a container that has ended to the next one before it says that
//! the first has ended (0.6 to 0.9 s on Engine 28.5; network events and `die` come after the
//! teardown). So what Docker said of two containers may name one address twice; the one that
//! started last has it, or the one that is about to be started with it.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use crate::model::change::Undecided;
use crate::model::container::{Container, Snapshot, Start};

/// Orders containers by their start; where Docker does not tell, by their creation.
type Order<'s> = (Start, i64, &'s str);

/// When a container started, compared with any other.
pub(super) fn order(container: &Container) -> Order<'_> {
    (container.start, container.created, &container.id)
}

/// Who has which address.
#[derive(Debug)]
pub(super) struct Holders<'s>(BTreeMap<Ipv6Addr, Order<'s>>);

impl<'s> Holders<'s> {
    /// What a snapshot says of it.
    pub(super) fn of(snapshot: &'s Snapshot) -> Self {
        let mut holders: BTreeMap<Ipv6Addr, Order<'s>> = BTreeMap::new();
        let mut claim = |addr, order: Order<'s>| {
            let holder = holders.entry(addr).or_insert(order);
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
                heard: next.heard,
                at: i64::MAX,
            };
            claim(*addr, (start, i64::MAX, &next.container_id));
        }
        Self(holders)
    }

    /// The full id of the other container that an address of `id` belongs to, if it does.
    pub(super) fn other(&self, addr: &Ipv6Addr, id: &str) -> Option<&'s str> {
        let (_, _, holder) = self.0.get(addr)?;
        (*holder != id).then_some(*holder)
    }
}

/// What a snapshot leaves open, and what of it others contradict.
pub(super) fn undecided(snapshot: &Snapshot) -> Undecided {
    if snapshot.unanswered.is_empty() {
        return Undecided::default();
    }
    let Holders(holders) = Holders::of(snapshot);
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

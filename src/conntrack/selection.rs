//! Decides which entries a set of purges deletes. Pure.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv6Addr;

use super::entry::Entry;
use super::flow::{Flow, Purge};
use crate::model::forward::Proto;

/// Purges by protocol and host port: an entry is compared with those of its own port only, so
/// that the work is the sum of purges and entries and not their product.
#[derive(Debug)]
pub(super) struct Selection<'a> {
    by_port: HashMap<(Proto, u16), Vec<&'a Purge>>,
    local: &'a BTreeSet<Ipv6Addr>,
}

impl<'a> Selection<'a> {
    /// `local` are the host's own addresses; only [`Purge::Installed`] asks for them.
    pub(super) fn new(purges: &'a [Purge], local: &'a BTreeSet<Ipv6Addr>) -> Self {
        let mut by_port: HashMap<(Proto, u16), Vec<&Purge>> = HashMap::new();
        for purge in purges {
            let flow = purge.flow();
            let bucket = by_port.entry((flow.proto, flow.host_port)).or_default();
            // One forward has a rule for each egress interface.
            if !bucket.contains(&purge) {
                bucket.push(purge);
            }
        }
        Self { by_port, local }
    }

    /// Whether the entry is to go.
    pub(super) fn means(&self, entry: &Entry<'_>) -> bool {
        self.is_past(entry) || self.begins_with_an_answer(entry)
    }

    fn is_past(&self, entry: &Entry<'_>) -> bool {
        let (addr, port) = entry.destination;
        let Some(purges) = self.by_port.get(&(entry.proto, port)) else {
            return false;
        };
        let reached = |flow: &Flow| flow.host_addr.is_none_or(|host| host == addr);
        let carried = |flow: &Flow| reached(flow) && flow.target == entry.answerer;
        let (mut old, mut fresh, mut kept) = (false, false, false);
        for purge in purges {
            match purge {
                Purge::Removed(flow) => old |= carried(flow),
                Purge::Installed(flow) => {
                    fresh |= reached(flow);
                    kept |= carried(flow);
                }
            }
        }
        let past = fresh && !kept && self.is_from_outside_to_the_host(entry);
        old || (past && !is_served_by_the_host(entry))
    }

    /// An answer of docker-proxy that was under way when the entry of its UDP flow was deleted makes another,
    /// in whose eyes the host began. The client's packets belong to that one and go on to docker-proxy.
    fn begins_with_an_answer(&self, entry: &Entry<'_>) -> bool {
        let purges = self.by_port.get(&(Proto::Udp, entry.source_port));
        let mut purges = purges.into_iter().flatten();
        let sends = |flow: &Flow| flow.host_addr.is_none_or(|host| host == entry.source);
        entry.proto == Proto::Udp
            && purges.any(|purge| matches!(purge, Purge::Installed(flow) if sends(flow)))
            && entry.answerer == entry.destination
            && self.local.contains(&entry.source)
            && !self.local.contains(&entry.destination.0)
    }

    /// A DNAT rule means packets that arrive for a local address. What the host or a container
    /// sends to the same port elsewhere is not ours, nor what the host sends to itself.
    fn is_from_outside_to_the_host(&self, entry: &Entry<'_>) -> bool {
        self.local.contains(&entry.destination.0) && !self.local.contains(&entry.source)
    }
}

/// A connection that the host itself has accepted, by docker-proxy as a rule: translated in
/// midstream it would be reset, and left alone it goes on.
fn is_served_by_the_host(entry: &Entry<'_>) -> bool {
    entry.accepted && entry.answerer == entry.destination
}

#[cfg(test)]
mod tests;

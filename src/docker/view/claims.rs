//! Addresses that pass from one container to the next. Pure, like all of the view.
//!
//! An Engine frees the addresses of a container that has ended before it says that it has, and
//! may give them to the next one meanwhile. That one joins its networks before it runs (350 ms on
//! Engine 20.10, 30 to 60 ms on 28.5), and an inspect of it would block until then; an inspect of
//! the network ([`super::holders`]) does not, and shows its address.
//!
//! Before any of that the kernel says that a container's interface is back in the host's
//! namespace: the first step of its teardown, some 140 ms before the address is free on 28.5.
//!
//! Rules, and why:
//! - An address is claimed only for a container that is not known to run, and until it is: then
//!   its own inspect speaks for it.
//! - A start or an end that comes while the question is under way voids what the answer says of
//!   that container.
//! - A question that fails is not repeated: the container's `start` says the same, later. Until
//!   then a port of the container that had the address leads to the next.
//! - An endpoint whose interface was taken back is left, as if Docker had said so, and Docker is
//!   asked: it may be an interface that has only the same hardware address. Where several
//!   endpoints have that address, none is left before the answer.
//! - A container that is known to run and joins a network is inspected, and counts as started
//!   last.

use std::net::Ipv6Addr;
use std::sync::Arc;

use super::View;
use crate::docker::event::EventKind;
use crate::model::container::{Claim, Endpoint};
use crate::model::interface::MacAddr;

/// Most addresses that are claimed at once, and most interfaces remembered while a list is on its
/// way: of containers that are being started, an Engine has some ten.
const MAX_CLAIMS: usize = 4096;

impl View {
    /// A container joined a network, or left it.
    pub(super) fn moved(&mut self, kind: EventKind, id: &str, network: &str) {
        match kind {
            // It gets its address there later than any container before it.
            EventKind::Connect if self.shown.containers.contains_key(id) => {
                self.sequence += 1;
                self.starts.insert(id.to_owned(), self.sequence);
            }
            EventKind::Connect => {
                self.sequence += 1;
                self.holders.joined(id, network);
            }
            EventKind::Disconnect | EventKind::DisconnectedEarlier => {
                self.holders.ended(id);
                self.release_claims(id);
                // What a list shows is younger than a replay.
                if kind == EventKind::Disconnect {
                    self.leave(id, |e| e.network_id == network && !e.left);
                }
            }
            _ => {}
        }
    }

    /// An interface with this hardware address is in the host's namespace.
    pub(crate) fn interface_seen(&mut self, mac: MacAddr) {
        let meanwhile = self.meanwhile.as_mut();
        if let Some(meanwhile) = meanwhile.filter(|m| m.seen.len() < MAX_CLAIMS) {
            meanwhile.seen.insert(mac);
        }
        let has_it = |e: &Endpoint| e.mac == Some(mac) && !e.left;
        let mut owners: Vec<String> = Vec::new();
        for container in self.shown.containers.values() {
            let its = container.endpoints.iter().filter(|e| has_it(e));
            owners.extend(its.map(|_| container.id.clone()));
        }
        if let [id] = &owners[..] {
            self.leave(id, has_it);
        }
        for id in owners {
            self.touch(&id);
            self.questions.want(&id);
        }
    }

    /// Any interface may have been taken back: every container that has one is asked about.
    pub(crate) fn interfaces_missed(&mut self) {
        let containers = self.shown.containers.values();
        let wired = containers.filter(|c| c.endpoints.iter().any(|e| e.mac.is_some()));
        let ids: Vec<String> = wired.map(|c| c.id.clone()).collect();
        for id in ids {
            self.questions.want(&id);
        }
    }

    fn leave(&mut self, id: &str, is_left: impl Fn(&Endpoint) -> bool) {
        let container = self.shown.containers.get(id);
        let at = container.and_then(|c| c.endpoints.iter().position(is_left));
        let Some(at) = at else { return };
        if let Some(container) = Arc::make_mut(&mut self.shown).containers.get_mut(id) {
            container.endpoints[at].left = true;
            self.changed = true;
        }
    }

    /// The next network that is to be asked who has which address on it. The question is under
    /// way from now on.
    pub(crate) fn next_network(&mut self) -> Option<String> {
        self.holders.next(self.sequence)
    }

    /// What came of it; `None` where there was no answer.
    pub(crate) fn network_answered(
        &mut self,
        network: &str,
        held: Option<Vec<(Ipv6Addr, String)>>,
    ) {
        let Some(under_way) = self.holders.answered(network) else {
            return;
        };
        for (addr, id) in held.into_iter().flatten() {
            // One that died and has not joined again is in its teardown.
            let ends = self.dead.contains(&id) && !self.holders.is_joining(&id);
            let known = self.shown.containers.contains_key(&id);
            if !ends && !known && !under_way.void.contains(&id) {
                self.claim(addr, id, under_way.sequence);
            }
        }
    }

    fn claim(&mut self, addr: Ipv6Addr, container_id: String, sequence: u64) {
        let containers = self.shown.containers.values();
        let mut endpoints = containers.flat_map(|c| &c.endpoints);
        // An address that no container had makes no difference.
        let matters = !self.shown.unanswered.is_empty()
            || endpoints.any(|e| e.address == Some(addr) && !e.left);
        let claim = Claim {
            container_id,
            sequence,
        };
        let claims = &self.shown.claims;
        let has_room = claims.len() < MAX_CLAIMS || claims.contains_key(&addr);
        if has_room && claims.get(&addr) != Some(&claim) {
            Arc::make_mut(&mut self.shown).claims.insert(addr, claim);
            self.changed |= matters;
        }
    }

    /// A container runs, or will not start: its claims have served.
    pub(super) fn release_claims(&mut self, id: &str) {
        if self.shown.claims.values().any(|c| c.container_id == id) {
            let claims = &mut Arc::make_mut(&mut self.shown).claims;
            claims.retain(|_, claim| claim.container_id != id);
            self.changed = true;
        }
    }

    /// Counts anew: starts are compared only within one connection.
    pub(super) fn forget_starts(&mut self) {
        self.sequence = 0;
        self.starts.clear();
        let shown = Arc::make_mut(&mut self.shown);
        shown.unanswered.clear();
        shown.claims.clear();
        for container in shown.containers.values_mut() {
            if container.start.sequence != 0 {
                container.start.sequence = 0;
            }
        }
    }
}

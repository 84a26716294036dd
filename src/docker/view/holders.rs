//! Who has which address on a network, also of those that are still being started. Pure, like all
//! of the view.
//!
//! An Engine frees the addresses of a container that has ended before it says that it has, and
//! may give them to the next one meanwhile. That one joins its networks before it runs (350 ms on
//! Engine 20.10, 30 to 60 ms on 28.5), and an inspect of it would block until then; an inspect of
//! the network does not, and shows its address.
//!
//! ```text
//!              joined by a container that is not known to run
//!     (idle) ────────────────────────────────────────────────▶ wanted ─── asked ───▶ under way
//!        ▲                                                        ▲                      │
//!        └────────────────── answered ────────────────────────────┴── (joined again) ────┘
//! ```
//!
//! Before any of that the kernel tells that a container's interface is back in the host's
//! namespace: the first step of its teardown, some 140 ms before the address is free on 28.5.
//!
//! Rules, and why:
//! - An address is claimed only for a container that is not known to run, and until it is: then
//!   its own inspect speaks for it.
//! - A start or an end that comes while the question is under way voids what the answer says of
//!   that container.
//! - A question that fails is not repeated: the container's `start` tells the same, later. Until
//!   then a port of the one that had the address leads to the next.
//! - An endpoint whose interface was taken back is left, as if Docker had said so, and Docker is
//!   asked: it may be an interface that has only the same hardware address. Where several
//!   endpoints have that address, none is left before the answer.
//! - One that is known to run and joins a network is inspected, and counts as started last.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::Arc;

use super::View;
use crate::docker::event::EventKind;
use crate::model::container::{Claim, Endpoint};
use crate::model::interface::MacAddr;

/// Most networks that wait to be asked. A host has fewer; when it is reached, further ones are
/// not asked, and the `start` of their containers has to do.
const MAX_WANTED: usize = 1024;

/// Most addresses that are claimed at once: of containers that are being started, an Engine has
/// some ten.
const MAX_CLAIMS: usize = 4096;

/// The questions to networks. See the module's head.
#[derive(Debug, Default)]
pub(super) struct Holders {
    wanted: BTreeSet<String>,
    under_way: BTreeMap<String, UnderWay>,
    /// Who has joined a network and neither started nor ended since.
    joining: BTreeSet<String>,
}

/// A question that is on its way.
#[derive(Debug, Default)]
struct UnderWay {
    /// How much had been heard when it was asked.
    heard: u64,
    /// Somebody has joined since.
    again: bool,
    /// Who has started or ended since.
    void: BTreeSet<String>,
}

impl Holders {
    fn want(&mut self, network: &str) {
        if let Some(under_way) = self.under_way.get_mut(network) {
            under_way.again = true;
        } else if self.wanted.len() < MAX_WANTED {
            self.wanted.insert(network.to_owned());
        }
    }

    /// A container has started, or ended, or left a network.
    pub(super) fn ended(&mut self, id: &str) {
        self.joining.remove(id);
        for under_way in self.under_way.values_mut() {
            under_way.void.insert(id.to_owned());
        }
    }
}

impl View {
    /// A container joined a network, or left it.
    pub(super) fn moved(&mut self, kind: EventKind, id: &str, network: &str) {
        match kind {
            // What it gets there is newer than what anybody had before.
            EventKind::Connect if self.shown.containers.contains_key(id) => {
                self.heard += 1;
                self.starts.insert(id.to_owned(), self.heard);
            }
            EventKind::Connect => {
                self.heard += 1;
                self.holders.want(network);
                if self.holders.joining.len() < MAX_CLAIMS {
                    self.holders.joining.insert(id.to_owned());
                }
            }
            EventKind::Disconnect => {
                self.holders.ended(id);
                self.release_claims(id);
                self.leave(id, |e| e.network_id == network && !e.left);
            }
            _ => {}
        }
    }

    /// An interface with this hardware address is in the host's namespace.
    pub fn interface_seen(&mut self, mac: MacAddr) {
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
            self.want(&id);
        }
    }

    /// Any interface may have been taken back: all are asked about that have one.
    pub fn interfaces_missed(&mut self) {
        let containers = self.shown.containers.values();
        let wired = containers.filter(|c| c.endpoints.iter().any(|e| e.mac.is_some()));
        let ids: Vec<String> = wired.map(|c| c.id.clone()).collect();
        for id in ids {
            self.want(&id);
        }
    }

    fn leave(&mut self, id: &str, is_left: impl Fn(&Endpoint) -> bool) {
        let shows = |view: &Self| {
            let container = view.shown.containers.get(id)?;
            container.endpoints.iter().position(&is_left)
        };
        if let Some(at) = shows(self) {
            let containers = &mut Arc::make_mut(&mut self.shown).containers;
            if let Some(container) = containers.get_mut(id) {
                container.endpoints[at].left = true;
                self.changed = true;
            }
        }
    }

    /// The next network that is to be asked who has which address on it. The question is under
    /// way from now on.
    pub fn next_network(&mut self) -> Option<String> {
        let network = self.holders.wanted.pop_first()?;
        let under_way = UnderWay {
            heard: self.heard,
            ..UnderWay::default()
        };
        self.holders.under_way.insert(network.clone(), under_way);
        Some(network)
    }

    /// What came of it; `None` where there was no answer.
    pub fn network_answered(&mut self, network: &str, held: Option<Vec<(Ipv6Addr, String)>>) {
        let Some(under_way) = self.holders.under_way.remove(network) else {
            return;
        };
        if under_way.again {
            self.holders.want(network);
        }
        for (addr, id) in held.into_iter().flatten() {
            // One that died and has not joined again is in its teardown.
            let ends = self.dead.contains_key(&id) && !self.holders.joining.contains(&id);
            let known = self.shown.containers.contains_key(&id);
            if !ends && !known && !under_way.void.contains(&id) {
                self.claim(addr, id, under_way.heard);
            }
        }
    }

    fn claim(&mut self, addr: Ipv6Addr, container_id: String, heard: u64) {
        let containers = self.shown.containers.values();
        let mut endpoints = containers.flat_map(|c| &c.endpoints);
        // Nothing changes for an address that nobody had.
        let matters = !self.shown.unanswered.is_empty()
            || endpoints.any(|e| e.address == Some(addr) && !e.left);
        let claim = Claim {
            container_id,
            heard,
        };
        let claims = &self.shown.claims;
        let has_room = claims.len() < MAX_CLAIMS || claims.contains_key(&addr);
        if has_room && claims.get(&addr) != Some(&claim) {
            Arc::make_mut(&mut self.shown).claims.insert(addr, claim);
            self.changed |= matters;
        }
    }

    /// A container runs, or does not start any more: what it claimed it has, or has not.
    pub(super) fn release_claims(&mut self, id: &str) {
        if self.shown.claims.values().any(|c| c.container_id == id) {
            let claims = &mut Arc::make_mut(&mut self.shown).claims;
            claims.retain(|_, claim| claim.container_id != id);
            self.changed = true;
        }
    }

    /// Counts anew: over another connection, what was heard before tells nothing.
    pub(super) fn forget_starts(&mut self) {
        self.heard = 0;
        self.starts.clear();
        let shown = Arc::make_mut(&mut self.shown);
        shown.unanswered.clear();
        shown.claims.clear();
        for container in shown.containers.values_mut() {
            container.start.heard = 0;
        }
    }
}

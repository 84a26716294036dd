//! Which networks there are, and when to list them again. Pure, like all of the view.
//!
//! ```text
//!              list begun · created · one that is not known was named
//!     Settled ────────────────────────────────────────────────────▶ Wanted ◀─ retry ─ Failed
//!        ▲                                                            │ begun            ▲
//!        │              listed                                        ▼                  │
//!        └────────────────────────────────────────────────────────  Asked ── failed ─────┘
//!                        (listed, and wanted meanwhile: Wanted)
//! ```
//!
//! Rules, and why:
//! - A network never changes, and its id is never given again. So an answer that an event has
//!   overtaken is still taken in, without the networks destroyed meanwhile, and asked for once
//!   more: it may lack one that was created.
//! - A destroyed network is dropped at once, without a question.
//! - While a failed question waits for its retry, nothing but a new list of everything asks
//!   again: otherwise a storm of events would be a storm of requests.
//! - An id that is named and not known is asked for once; if the list does not have it, naming
//!   it again changes nothing until the next list of everything.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::container::Network;

/// Most unknown networks remembered as asked for. A host has fewer networks than this; when it
/// is reached, further ones wait for the next list of everything.
const MAX_NAMED: usize = 1024;

/// How far the last question has come.
#[derive(Debug, Default)]
enum Asking {
    #[default]
    Settled,
    Wanted,
    Asked {
        /// To be asked once more.
        again: bool,
        /// Destroyed since it was asked.
        destroyed: BTreeSet<String>,
    },
    Failed,
}

/// The list of networks, as far as it is known and asked for. See the module's head.
#[derive(Debug, Default)]
pub(super) struct NetworkListing {
    asking: Asking,
    /// Unknown ones that a list was asked for already.
    pub(super) named: BTreeSet<String>,
    /// Whether a list was ever answered.
    ever_listed: bool,
    /// Whether those known are as good as can be had since the last loss: listed, or listed
    /// before it and not to be had again yet.
    ready: bool,
}

/// The networks known, by id.
pub(super) type Known = BTreeMap<String, Network>;

impl NetworkListing {
    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    pub(super) fn is_wanted(&self) -> bool {
        matches!(self.asking, Asking::Wanted)
    }

    /// The stream of events broke.
    pub(super) fn lost(&mut self) {
        self.asking = Asking::Settled;
        self.ready = false;
        self.named.clear();
    }

    /// Everything is about to be listed.
    pub(super) fn want_all(&mut self) {
        self.named.clear();
        self.asking = match std::mem::take(&mut self.asking) {
            Asking::Asked { destroyed, .. } => Asking::Asked {
                again: true,
                destroyed,
            },
            _ => Asking::Wanted,
        };
    }

    /// Something says that the list is not what it was.
    pub(super) fn want(&mut self) {
        match &mut self.asking {
            Asking::Settled => self.asking = Asking::Wanted,
            Asking::Asked { again, .. } => *again = true,
            Asking::Wanted | Asking::Failed => {}
        }
    }

    /// An id was named that may not be known.
    pub(super) fn named(&mut self, id: &str, known: &Known) {
        if !id.is_empty()
            && !known.contains_key(id)
            && self.named.len() < MAX_NAMED
            && self.named.insert(id.to_owned())
        {
            self.want();
        }
    }

    pub(super) fn destroyed(&mut self, id: &str) {
        if let Asking::Asked { destroyed, .. } = &mut self.asking {
            destroyed.insert(id.to_owned());
        }
    }

    /// The list is asked for now.
    pub(super) fn begun(&mut self) {
        self.asking = Asking::Asked {
            again: false,
            destroyed: BTreeSet::new(),
        };
    }

    /// The list was answered. `None` if the answer is void: it was not asked for, or a loss
    /// came between.
    pub(super) fn listed(&mut self, rows: Vec<Network>) -> Option<Known> {
        let Asking::Asked { again, destroyed } = std::mem::take(&mut self.asking) else {
            return None;
        };
        if again {
            self.asking = Asking::Wanted;
        }
        let rows = rows.into_iter().filter(|n| !destroyed.contains(&n.id));
        let known: Known = rows.map(|n| (n.id.clone(), n)).collect();
        self.named.retain(|id| !known.contains_key(id));
        self.ever_listed = true;
        self.ready = true;
        Some(known)
    }

    /// The list was not answered.
    pub(super) fn failed(&mut self) {
        if matches!(self.asking, Asking::Asked { .. }) {
            self.asking = Asking::Failed;
            self.ready |= self.ever_listed;
        }
    }

    /// The wait after a failure is over.
    pub(super) fn retry(&mut self) {
        if matches!(self.asking, Asking::Failed) {
            self.asking = Asking::Wanted;
        }
    }
}

#[cfg(test)]
#[path = "networks_tests.rs"]
pub(super) mod tests;

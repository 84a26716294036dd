//! The questions to networks: who has which address there. Pure, like all of the view.
//!
//! ```text
//!              joined by a container that is not known to run
//!     (idle) ────────────────────────────────────────────────▶ wanted ─── asked ───▶ under way
//!        ▲                                                        ▲                      │
//!        └────────────────── answered ────────────────────────────┴── (joined again) ────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};

/// Most networks that wait to be asked. A host has fewer; when it is reached, further ones are
/// not asked, and the `start` of their containers has to do.
const MAX_WANTED: usize = 1024;

/// Most containers remembered as joining: an Engine starts some ten at once.
const MAX_JOINING: usize = 4096;

/// The questions to networks.
#[derive(Debug, Default)]
pub(super) struct Holders {
    wanted: BTreeSet<String>,
    under_way: BTreeMap<String, UnderWay>,
    /// Containers that have joined a network and neither started nor ended since.
    joining: BTreeSet<String>,
}

/// A question that is on its way.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    /// [`super::View`]'s count of starts when it was asked.
    pub(super) sequence: u64,
    /// A container has joined since.
    again: bool,
    /// The containers that have started or ended since: what the answer says of them is void.
    pub(super) void: BTreeSet<String>,
}

impl Holders {
    /// A container that is not known to run has joined a network.
    pub(super) fn joined(&mut self, id: &str, network: &str) {
        self.want(network);
        if self.joining.len() < MAX_JOINING {
            self.joining.insert(id.to_owned());
        }
    }

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

    /// The next network to ask; `sequence` is the count of starts by now. The question is under way
    /// from now on.
    pub(super) fn next(&mut self, sequence: u64) -> Option<String> {
        let network = self.wanted.pop_first()?;
        let under_way = UnderWay {
            sequence,
            ..UnderWay::default()
        };
        self.under_way.insert(network.clone(), under_way);
        Some(network)
    }

    /// The question is answered, or has failed; `None` if it is void.
    pub(super) fn answered(&mut self, network: &str) -> Option<UnderWay> {
        let under_way = self.under_way.remove(network)?;
        if under_way.again {
            self.want(network);
        }
        Some(under_way)
    }

    pub(super) fn is_joining(&self, id: &str) -> bool {
        self.joining.contains(id)
    }
}

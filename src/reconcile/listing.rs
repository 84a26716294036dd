//! What is known of the kernel's rules, and what a listing of them shows.

use std::collections::BTreeMap;

use crate::backend::ObservedRule;
use crate::model::rule::{Rule, RuleId};

/// What is known of the rules of ours in the kernel.
#[derive(Debug, Default)]
pub(super) enum Kernel {
    /// Nothing: no listing has succeeded in this run, and forwards of an earlier boot may be there.
    #[default]
    Unlisted,
    /// They may differ from the records: list them before anything else.
    Unknown,
    /// Something was not as believed, or is left over: list them before the next round.
    Suspect,
    /// They are what the records say.
    Believed,
    /// The same, and this is a listing of this round. Nothing has changed since, and nothing has
    /// waited for the disk.
    Listed(Vec<ObservedRule>),
}

impl Kernel {
    /// Something is changed, or waits for the disk: a listing is no longer fresh.
    pub(super) fn age(&mut self) {
        self.take_listing();
    }

    /// The listing, if it is fresh. It is used once: a change follows.
    pub(super) fn take_listing(&mut self) -> Option<Vec<ObservedRule>> {
        match std::mem::replace(self, Self::Believed) {
            Self::Listed(listing) => Some(listing),
            other => {
                *self = other;
                None
            }
        }
    }

    /// See [`Kernel::Suspect`]; what is unknown stays so.
    pub(super) fn suspect(&mut self) {
        if !self.is_unknown() {
            *self = Self::Suspect;
        }
    }

    /// See [`Kernel::Unknown`].
    pub(super) fn invalidate(&mut self) {
        if !self.is_unlisted() {
            *self = Self::Unknown;
        }
    }

    pub(super) fn is_unlisted(&self) -> bool {
        matches!(self, Self::Unlisted)
    }

    pub(super) fn is_unknown(&self) -> bool {
        matches!(self, Self::Unlisted | Self::Unknown)
    }

    /// Whether a round begins with a listing.
    pub(super) fn needs_listing(&self) -> bool {
        self.is_unknown() || matches!(self, Self::Suspect)
    }
}

/// A listing, sorted out.
pub(super) struct Listing {
    /// The first copy of each rule whose content is what its identity says.
    pub(super) genuine: BTreeMap<RuleId, Rule>,
    /// Of those, the ones that stand in the wrong place.
    pub(super) misplaced: Vec<ObservedRule>,
    /// Further copies, and rules with our comment whose content is not what their identity says.
    pub(super) surplus: Vec<ObservedRule>,
}

impl Listing {
    pub(super) fn sort(observed: Vec<ObservedRule>) -> Self {
        let mut seen = Self {
            genuine: BTreeMap::new(),
            misplaced: Vec::new(),
            surplus: Vec::new(),
        };
        // A copy that stands in its place is the one that stays.
        let (misplaced, placed): (Vec<_>, Vec<_>) =
            observed.into_iter().partition(|seen| seen.is_misplaced);
        for rule in placed.into_iter().chain(misplaced) {
            match &rule.rule {
                Some(content) if !seen.genuine.contains_key(&rule.id) => {
                    seen.genuine.insert(rule.id, content.clone());
                    if rule.is_misplaced {
                        seen.misplaced.push(rule);
                    }
                }
                _ => seen.surplus.push(rule),
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_serves_once_and_what_is_unknown_stays_so() {
        let mut kernel = Kernel::default();
        kernel.suspect();
        kernel.age();
        assert!(kernel.is_unknown() && kernel.needs_listing());
        kernel.invalidate();
        assert!(kernel.is_unlisted());
        kernel = Kernel::Listed(Vec::new());
        assert!(!kernel.needs_listing());
        assert_eq!(kernel.take_listing(), Some(Vec::new()));
        assert_eq!(kernel.take_listing(), None);
        assert!(matches!(kernel, Kernel::Believed));
        kernel = Kernel::Listed(Vec::new());
        kernel.suspect();
        assert!(kernel.needs_listing() && !kernel.is_unknown());
        assert_eq!(kernel.take_listing(), None);
        kernel.invalidate();
        assert!(kernel.is_unknown() && !kernel.is_unlisted());
    }
}

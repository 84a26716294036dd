//! Which connections have outlived their rules.

use std::collections::{BTreeSet, HashSet};

use crate::conntrack::{Flow, Purge};
use crate::model::forward::Owner;
use crate::model::rule::Rule;

/// What is still to be cut.
#[derive(Debug, Default)]
pub(super) struct Stale {
    /// Their rules are gone, unless another with the same ports and target is still there.
    pub(super) gone: HashSet<Flow>,
    /// Their rules stay, but belong to another container now.
    pub(super) passed_on: HashSet<Flow>,
    /// Their rules are new: flows of these ports that do not follow them.
    pub(super) fresh: HashSet<Flow>,
}

impl Stale {
    /// A rule has left the kernel.
    pub(super) fn removed(&mut self, rule: &Rule) {
        self.gone.extend(Flow::of(rule));
    }

    /// A rule has come into the kernel.
    pub(super) fn inserted(&mut self, rule: &Rule) {
        self.fresh.extend(Flow::of(rule));
    }

    /// A rule stays and changes its owners. If none of the known owners stays, another container has
    /// the address now, and must not get the connections of the one before.
    pub(super) fn reowned(&mut self, rule: &Rule, before: &BTreeSet<Owner>, now: &BTreeSet<Owner>) {
        let stays = |owner: &Owner| now.iter().any(|o| o.container_id == owner.container_id);
        if before.is_empty() || before.iter().any(stays) {
            return;
        }
        self.passed_on.extend(Flow::of(rule));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.passed_on.is_empty() && self.fresh.is_empty()
    }

    /// What to ask for, given the flows that rules in the kernel allow.
    pub(super) fn purges(&self, allowed: impl Fn(&Flow) -> bool) -> Vec<Purge> {
        let gone = self.gone.iter().filter(|flow| !allowed(flow));
        let gone = gone.chain(&self.passed_on);
        let fresh = self.fresh.iter().filter(|flow| allowed(flow));
        gone.cloned()
            .map(Purge::Removed)
            .chain(fresh.cloned().map(Purge::Installed))
            .collect()
    }
}

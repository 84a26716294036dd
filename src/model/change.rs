//! Desired and applied rules, and the ordered difference between them.

use std::collections::BTreeMap;

use super::rule::{DnatKey, OwnedRule, RuleId};

/// What should be in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// Static rules and DNAT rules by identity.
    pub rules: BTreeMap<RuleId, OwnedRule>,
    /// Whether `rules` speaks of forwards at all. Before the first complete list it does not:
    /// forwards of an earlier run are then neither confirmed nor stale, and stay.
    pub forwards: Forwards,
}

/// Whether a [`Desired`] knows what Docker publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwards {
    /// Docker has not been heard yet: only static rules are compared.
    NotYetKnown,
    /// Every forward that is not among the rules is to go.
    Known,
}

impl Desired {
    /// Nothing at all: what a daemon wants when it leaves.
    pub fn nothing() -> Self {
        Self {
            rules: BTreeMap::new(),
            forwards: Forwards::Known,
        }
    }
}

/// One rule takes the place of another with the same key, in one atomic batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// The applied rule that goes.
    pub old: RuleId,
    /// The rule that comes.
    pub new: OwnedRule,
}

/// What leads from applied to desired.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeSet {
    /// Pure removals, DNAT rules before static ones. They never wait for the disk.
    pub remove: Vec<RuleId>,
    /// Insertions, static rules before DNAT rules.
    pub insert: Vec<OwnedRule>,
    /// Changes of target.
    pub replace: Vec<Replacement>,
    /// Rules that stay in the kernel and change their owners in the journal.
    pub reown: Vec<OwnedRule>,
}

impl ChangeSet {
    /// The difference desired − applied.
    pub fn between(desired: &Desired, applied: &BTreeMap<RuleId, OwnedRule>) -> Self {
        let mut change = Self::default();
        let mut leaving: BTreeMap<DnatKey, Vec<RuleId>> = BTreeMap::new();
        let mut leaving_static = Vec::new();
        for (id, held) in applied {
            let wanted = desired.rules.contains_key(id);
            let unknown = desired.forwards == Forwards::NotYetKnown && !held.rule.spec.is_static();
            if wanted || unknown {
                continue;
            }
            match held.rule.spec.dnat_key() {
                Some(key) => leaving.entry(key.clone()).or_default().push(*id),
                None => leaving_static.push(*id),
            }
        }
        for (id, wanted) in &desired.rules {
            match applied.get(id) {
                Some(held) if held.owners == wanted.owners => {}
                Some(_) => change.reown.push(wanted.clone()),
                None => {
                    let old = wanted
                        .rule
                        .spec
                        .dnat_key()
                        .and_then(|key| leaving.get_mut(key))
                        .filter(|ids| {
                            ids.last()
                                .is_some_and(|id| applied[id].rule.backend == wanted.rule.backend)
                        })
                        .and_then(Vec::pop);
                    match old {
                        Some(old) => change.replace.push(Replacement {
                            old,
                            new: wanted.clone(),
                        }),
                        None => change.insert.push(wanted.clone()),
                    }
                }
            }
        }
        change.remove = leaving.into_values().flatten().collect();
        change.remove.extend(leaving_static);
        change.insert.sort_by(|a, b| a.rule.spec.cmp(&b.rule.spec));
        change
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty()
            && self.insert.is_empty()
            && self.replace.is_empty()
            && self.reown.is_empty()
    }
}

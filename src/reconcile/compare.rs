//! Sets the kernel beside what is desired, and changes nothing.

use std::collections::BTreeMap;

use super::Reconciler;
use crate::backend::{Backend, BackendError};
use crate::journal::Journal;
use crate::model::change::{ChangeSet, Desired};
use crate::model::rule::{OwnedRule, RuleId};

/// How a rule stands in the kernel, and with Docker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Compared {
    /// The rule; `None` where the kernel shows our comment beside the work of others.
    pub(crate) owned: Option<OwnedRule>,
    /// Copies in the kernel that are as they should be.
    pub(crate) copies: usize,
    /// Others: altered by somebody, or in a place where they have no effect.
    pub(crate) astray: usize,
    /// Whether it follows from what Docker says and from the settings, as far as both are known.
    pub(crate) is_wanted: bool,
}

impl<J: Journal> Reconciler<J> {
    /// How many connections each rule has taken.
    ///
    /// # Errors
    /// The kernel does not say. Nothing was retried.
    pub(crate) fn connections(&mut self) -> Result<BTreeMap<RuleId, u64>, BackendError> {
        self.backend.connections()
    }

    /// Lists the kernel and compares it with `desired`. What is believed of the kernel stays as it was.
    ///
    /// # Errors
    /// The kernel cannot be listed with certainty. Nothing was retried.
    pub(crate) fn compare(
        &mut self,
        desired: &Desired,
    ) -> Result<BTreeMap<RuleId, Compared>, BackendError> {
        let mut all: BTreeMap<RuleId, Compared> = BTreeMap::new();
        for seen in self.backend.list()? {
            let known = self
                .records
                .get(&seen.id)
                .map(|record| record.owned.clone());
            let rule = seen.content().cloned();
            let found = rule.map(|rule| OwnedRule {
                rule,
                owners: Default::default(),
            });
            let compared = all.entry(seen.id).or_default();
            compared.owned = known.or(found);
            match seen.rule.is_some() && !seen.is_misplaced {
                true => compared.copies += 1,
                false => compared.astray += 1,
            }
        }
        let applied = self.applied();
        let change = ChangeSet::between(desired, &applied);
        for (id, owned) in &applied {
            let compared = all.entry(*id).or_default();
            compared.owned = Some(owned.clone());
            compared.is_wanted = true;
        }
        let replaced = change.replace.iter().map(|replacement| &replacement.old);
        for id in change.remove.iter().chain(replaced) {
            all.entry(*id).or_default().is_wanted = false;
        }
        let new = change.replace.iter().map(|replacement| &replacement.new);
        for owned in change.insert.iter().chain(new) {
            let compared = all.entry(owned.rule.id()).or_default();
            compared.owned = Some(owned.clone());
            compared.is_wanted = true;
        }
        Ok(all)
    }
}

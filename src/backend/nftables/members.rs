//! The elements of our table, found by their places and by their identities. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::sets::Set;
use crate::backend::ObservedRule;
use crate::model::rule::RuleId;
use crate::model::table;

/// Elements by locator.
#[derive(Debug, Clone, Default)]
pub(super) struct Members {
    by_locator: BTreeMap<Arc<str>, ObservedRule>,
    by_id: HashMap<RuleId, Arc<str>>,
    /// Whether an identity was ever found in two places: then `by_id` lacks some of them.
    has_copies: bool,
    counts: BTreeMap<Set, usize>,
}

impl Members {
    pub(super) fn len(&self) -> usize {
        self.by_locator.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_locator.is_empty()
    }

    pub(super) fn contains(&self, locator: &str) -> bool {
        self.by_locator.contains_key(locator)
    }

    /// In the order of the locators.
    pub(super) fn all(&self) -> impl Iterator<Item = &ObservedRule> {
        self.by_locator.values()
    }

    /// Those with these identities.
    pub(super) fn of(&self, ids: &BTreeSet<RuleId>) -> Vec<ObservedRule> {
        if self.has_copies {
            let found = self.all().filter(|seen| ids.contains(&seen.id));
            return found.cloned().collect();
        }
        let locators = ids.iter().filter_map(|id| self.by_id.get(id));
        let found: BTreeSet<&Arc<str>> = locators.collect();
        let found = found.into_iter().filter_map(|l| self.by_locator.get(l));
        found.cloned().collect()
    }

    /// How many elements a set holds.
    pub(super) fn count(&self, set: Set) -> usize {
        self.counts.get(&set).copied().unwrap_or_default()
    }

    pub(super) fn insert(&mut self, observed: ObservedRule) {
        let locator = observed.locator.clone();
        self.remove(&locator);
        if let Some(set) = set_of(&locator) {
            *self.counts.entry(set).or_default() += 1;
        }
        let other = self.by_id.insert(observed.id, locator.clone());
        self.has_copies |= other.is_some();
        self.by_locator.insert(locator, observed);
    }

    pub(super) fn remove(&mut self, locator: &str) {
        let Some(gone) = self.by_locator.remove(locator) else {
            return;
        };
        if self.by_id.get(&gone.id).is_some_and(|at| **at == *locator) {
            self.by_id.remove(&gone.id);
            table::fit(&mut self.by_id);
        }
        if let Some(count) = set_of(locator).and_then(|set| self.counts.get_mut(&set)) {
            *count -= 1;
        }
    }

    /// Removes the elements of a set of which `goes` holds.
    pub(super) fn remove_from(&mut self, set: Set, goes: impl Fn(&ObservedRule) -> bool) {
        let leaving = self
            .all()
            .filter(|seen| set_of(&seen.locator) == Some(set) && goes(seen));
        let leaving: Vec<Arc<str>> = leaving.map(|seen| seen.locator.clone()).collect();
        for locator in leaving {
            self.remove(&locator);
        }
    }
}

/// The set in which the element of a locator is.
fn set_of(locator: &str) -> Option<Set> {
    Set::named(locator.split(' ').next()?)
}

impl PartialEq for Members {
    fn eq(&self, other: &Self) -> bool {
        self.by_locator == other.by_locator
    }
}

impl Eq for Members {}

impl FromIterator<ObservedRule> for Members {
    fn from_iter<I: IntoIterator<Item = ObservedRule>>(all: I) -> Self {
        let mut members = Self::default();
        all.into_iter().for_each(|seen| members.insert(seen));
        members
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETS: [Set; 2] = [Set::Egress, Set::Forwards];

    #[derive(Debug, Clone)]
    enum Step {
        /// The set, the key, and the identity that the element bears.
        Insert(usize, u8, u8),
        Remove(usize, u8),
        /// All of a set with this identity.
        RemoveFrom(usize, u8),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let (set, key, id) = (0..SETS.len(), 0_u8..3, 0_u8..5);
        prop_oneof![
            4 => (set.clone(), key.clone(), id.clone()).prop_map(|(s, k, i)| Step::Insert(s, k, i)),
            2 => (set.clone(), key).prop_map(|(s, k)| Step::Remove(s, k)),
            1 => (set, id).prop_map(|(s, i)| Step::RemoveFrom(s, i)),
        ]
    }

    fn locator(set: usize, key: u8) -> String {
        format!("{} {key}", SETS[set].name())
    }

    fn id(number: u8) -> RuleId {
        RuleId::from_bytes([number; 8])
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_a_search_of_all_finds(
            steps in prop::collection::vec(any_step(), 1..24)
        ) {
            let mut members = Members::default();
            let mut model: BTreeMap<String, RuleId> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Insert(set, key, number) => {
                        let locator = locator(set, key);
                        members.insert(ObservedRule::new(id(number), None, locator.as_str()));
                        model.insert(locator, id(number));
                    }
                    Step::Remove(set, key) => {
                        members.remove(&locator(set, key));
                        model.remove(&locator(set, key));
                    }
                    Step::RemoveFrom(set, number) => {
                        members.remove_from(SETS[set], |seen| seen.id == id(number));
                        model.retain(|at, of| set_of(at) != Some(SETS[set]) || *of != id(number));
                    }
                }
                let all: Vec<_> = members.all().map(|s| (s.locator.to_string(), s.id)).collect();
                prop_assert_eq!(&all, &model.clone().into_iter().collect::<Vec<_>>());
                for set in SETS {
                    let count = model.keys().filter(|at| set_of(at) == Some(set)).count();
                    prop_assert_eq!(members.count(set), count);
                }
                for wanted in [vec![0], vec![1, 3], vec![0, 1, 2, 3, 4]] {
                    let wanted: BTreeSet<RuleId> = wanted.into_iter().map(id).collect();
                    let found = members.of(&wanted).into_iter().map(|s| s.locator.to_string());
                    let expected = model.iter().filter(|(_, of)| wanted.contains(of));
                    let expected: Vec<_> = expected.map(|(at, _)| at.clone()).collect();
                    prop_assert_eq!(found.collect::<Vec<_>>(), expected);
                }
            }
        }
    }
}

//! What a batch takes to carry out, given what stands in the kernel. Pure.
//!
//! The table is made in the batch that inserts its first element and removed in the one that
//! takes out its last. A map that becomes too small is replaced by a larger one of the same
//! name in the same batch, so that no packet finds it missing.

use std::collections::{BTreeMap, BTreeSet};

use super::decode::Table;
use super::element::Item;
use super::encode::Step;
use super::fault::Fault;
use super::look::{State, WHOLE_TABLE};
use super::sets::Set;
use super::wire::table::OWNER_FLAG;
use crate::backend::{Batch, ErrorKind, ObservedRule};
use crate::model::rule::{BackendKind, Rule, RuleId};

/// What a table is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Make {
    /// Flags of the table.
    pub(super) flags: u32,
    /// Size of the map that most forwards are in. The others of a set's kind begin smaller.
    pub(super) size: u32,
}

/// With how many elements the sets begin that hold what few ports ask for. The kernel keeps
/// 16 bytes for each that a set can hold, clears them when it is made and walks them all when
/// it is bound, listed or taken away: eight sets of 65,535 take 8 MB and 12 ms, one takes 1.5.
const FEW: u32 = 1_024;

impl Make {
    /// The size that a set begins with.
    fn first_size(self, set: Set) -> u32 {
        match set {
            Set::Forwards => self.size,
            _ => self.size.min(FEW),
        }
    }
}

/// A whole table of these sizes, without elements.
fn table(make: Make, size: impl Fn(Set) -> u32) -> Vec<Step> {
    let sets = Set::ALL.into_iter().map(|set| Step::Set(set, size(set)));
    let table = Step::Table { flags: make.flags };
    let all = std::iter::once(table).chain(sets);
    all.chain([Step::Chains]).collect()
}

/// What a probe makes: a whole table, of the least size, which is all the same to the kernel.
pub(super) fn probe(make: Make) -> Vec<Step> {
    table(make, |_| 1)
}

/// The steps of a batch.
///
/// # Errors
/// [`ErrorKind::Failed`] where a rule or a locator is none of this backend's,
/// [`ErrorKind::NotFound`] where something is to be removed and there is no table.
pub(super) fn steps(state: &State, batch: &Batch, make: Make) -> Result<Vec<Step>, Fault> {
    let insert: Vec<(Item, RuleId)> = batch.insert.iter().map(item).collect::<Result<_, _>>()?;
    let leaving: BTreeSet<&str> = batch.remove.iter().map(|r| r.locator.as_str()).collect();
    if state.table.is_none() {
        return match batch.remove.is_empty() {
            true => Ok(with_elements(make, insert)),
            false => Err(Fault {
                kind: ErrorKind::NotFound,
                detail: "the table is not there".to_owned(),
            }),
        };
    }
    let is_last = if state.rules.is_empty() {
        leaving.contains(WHOLE_TABLE)
    } else {
        leaving.len() == batch.remove.len()
            && leaving.len() == state.rules.len()
            && leaving.iter().all(|gone| state.rules.contains_key(*gone))
    };
    if is_last && insert.is_empty() {
        return Ok(vec![Step::DropTable]);
    }
    let remove = batch.remove.iter().filter(|r| r.locator != WHOLE_TABLE);
    let remove: Vec<Item> = remove.map(located).collect::<Result<_, _>>()?;
    let grown = grown(state, &leaving, &insert);
    let mut steps = Vec::new();
    if !remove.is_empty() {
        steps.push(Step::Remove(sorted(remove)));
    }
    if grown.is_empty() {
        steps.push(Step::Insert(sorted(insert)));
        steps.retain(|step| *step != Step::Insert(Vec::new()));
        return Ok(steps);
    }
    let mut all = insert;
    all.extend(genuine(state).filter(|(item, _)| {
        grown.contains_key(&item.set) && !leaving.contains(item.locator().as_str())
    }));
    steps.push(Step::FlushRules);
    for (set, size) in grown {
        steps.extend([Step::DropSet(set), Step::Set(set, size)]);
    }
    steps.extend([Step::Insert(sorted(all)), Step::Chains]);
    Ok(steps)
}

/// The steps that make a table left by somebody else ours, with our chains; empty where it is
/// as it should be. Its elements stay.
pub(super) fn adoption(state: &State, port: u32, make: Make) -> Vec<Step> {
    let Some(found) = state.table else {
        return Vec::new();
    };
    let is_owned = found.flags == make.flags && (make.flags == 0 || found.owner == port);
    if is_owned && state.is_ours_alone && state.has_our_chains {
        return Vec::new();
    }
    if (is_owned || is_orphan(found, make)) && state.is_ours_alone {
        let flags = make.flags;
        return vec![Step::Table { flags }, Step::FlushRules, Step::Chains];
    }
    anew(state, make)
}

/// Whether a table has outlived its owner: the kernel lets no other be taken over.
fn is_orphan(found: Table, make: Make) -> bool {
    found.flags | OWNER_FLAG == make.flags && found.owner == 0
}

/// The steps that make a table which nobody owns of ours: saved by nft it loads again. Empty
/// where there is none, or it is like that already.
pub(super) fn release(state: &State, make: Make) -> Vec<Step> {
    match state.table {
        Some(found) if found.flags != 0 => anew(state, Make { flags: 0, ..make }),
        _ => Vec::new(),
    }
}

/// The steps that make a table with the same elements, which goes when its socket is closed.
pub(super) fn stand_in(state: &State, make: Make) -> Vec<Step> {
    let flags = OWNER_FLAG;
    copy(state, Make { flags, ..make })
}

/// The table once more, in its own place.
fn anew(state: &State, make: Make) -> Vec<Step> {
    let mut steps = vec![Step::DropTable];
    steps.extend(copy(state, make));
    steps
}

/// A table with the same elements.
fn copy(state: &State, make: Make) -> Vec<Step> {
    let kept: Vec<(Item, RuleId)> = genuine(state).collect();
    let mut steps = table(make, |set| {
        let size = state.sets.get(&set).copied().unwrap_or_default();
        size.max(make.first_size(set))
    });
    steps.push(Step::Insert(sorted(kept)));
    steps
}

/// A new table, large enough for these.
fn with_elements(make: Make, insert: Vec<(Item, RuleId)>) -> Vec<Step> {
    let counts = counts(&insert);
    let size = |set: Set| {
        let wanted = counts.get(&set).copied().unwrap_or_default();
        size_for(make.first_size(set), wanted)
    };
    let mut steps = table(make, size);
    steps.push(Step::Insert(sorted(insert)));
    steps
}

/// The rule of every element that is what it says it is.
fn genuine(state: &State) -> impl Iterator<Item = (Item, RuleId)> {
    let rules = state.rules.values().filter_map(|seen| seen.rule.as_ref());
    rules.filter_map(|rule| Some((Item::of(&rule.spec)?, rule.id())))
}

fn counts(insert: &[(Item, RuleId)]) -> BTreeMap<Set, usize> {
    let mut counts = BTreeMap::new();
    for (item, _) in insert.iter().filter(|(item, _)| item.set.is_per_port()) {
        *counts.entry(item.set).or_default() += 1;
    }
    counts
}

/// The sets that would be too small, and how large they must be.
fn grown(state: &State, leaving: &BTreeSet<&str>, insert: &[(Item, RuleId)]) -> BTreeMap<Set, u32> {
    let mut grown = BTreeMap::new();
    for (set, coming) in counts(insert) {
        let size = state.sets.get(&set).copied().unwrap_or_default();
        // A bound that is cheap to have; most of the time it is enough.
        if state.rules.len() + coming <= size as usize {
            continue;
        }
        let name = format!("{} ", set.name());
        let going = leaving.iter().filter(|l| l.starts_with(&name)).count();
        let wanted = (state.count(set) + coming).saturating_sub(going);
        if wanted > size as usize {
            grown.insert(set, size_for(size, wanted));
        }
    }
    grown
}

/// The first doubling of `size` that is enough.
fn size_for(size: u32, wanted: usize) -> u32 {
    let mut size = size.max(1);
    while (size as usize) < wanted {
        size = size.saturating_mul(2);
    }
    size
}

/// In the order of the listing, and so that elements of one set stand together.
fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items
}

fn item(rule: &Rule) -> Result<(Item, RuleId), Fault> {
    let item = match rule.backend {
        BackendKind::Nftables => Item::of(&rule.spec),
        BackendKind::Ip6tables => None,
    };
    let id = rule.id();
    let not_ours = || Fault {
        kind: ErrorKind::Failed,
        detail: format!("rule {id} is for another backend"),
    };
    item.map(|item| (item, id)).ok_or_else(not_ours)
}

fn located(gone: &ObservedRule) -> Result<Item, Fault> {
    Item::located(&gone.locator).ok_or_else(|| Fault {
        kind: ErrorKind::Failed,
        detail: format!("not a locator of this backend: {:?}", gone.locator),
    })
}

#[cfg(test)]
mod tests;

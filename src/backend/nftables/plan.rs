//! What a batch takes to carry out, given what stands in the kernel. Pure.
//!
//! The batch that inserts the first element makes the table, and the one that removes the last
//! removes it. A map that becomes too small is replaced by a larger one of the same
//! name in the same batch, so that no packet finds it missing.

use std::collections::{BTreeMap, BTreeSet};

use super::error::Fault;
use super::list::{TableState, WHOLE_TABLE};
use super::parse::TableHeader;
use super::render::Step;
use super::rule::SetElement;
use super::sets::Set;
use crate::backend::{Batch, ErrorKind, ObservedRule};
use crate::model::rule::{BackendKind, Rule, RuleId};
use crate::netlink::nf_tables::table::OWNER_FLAG;

/// What the table is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TableOptions {
    /// Flags of the table.
    pub(super) flags: u32,
    /// Size of the map that most forwards are in. The others of a set's kind begin smaller.
    pub(super) size: u32,
}

/// With how many elements the sets begin that hold what few ports ask for. The kernel keeps
/// 16 bytes for each that a set can hold, clears them when it is made and walks them all when
/// it is bound, listed or taken away: eight sets of 65,535 take 8 MB and 12 ms, one takes 1.5.
const FEW: u32 = 1_024;

impl TableOptions {
    /// The size that a set begins with.
    fn first_size(self, set: Set) -> u32 {
        match set {
            Set::Forwards => self.size,
            _ => self.size.min(FEW),
        }
    }
}

/// A whole table of these sizes, without elements.
fn table(options: TableOptions, size: impl Fn(Set) -> u32) -> Vec<Step> {
    let sets = Set::ALL.into_iter().map(|set| Step::Set(set, size(set)));
    let table = Step::Table {
        flags: options.flags,
    };
    let all = std::iter::once(table).chain(sets);
    all.chain([Step::Chains]).collect()
}

/// What a probe makes: a whole table of the least size, which asks the same of the kernel.
pub(super) fn probe(options: TableOptions) -> Vec<Step> {
    table(options, |_| 1)
}

/// The steps of a batch.
///
/// # Errors
/// [`ErrorKind::Failed`] where a rule or a locator is not of this backend,
/// [`ErrorKind::NotFound`] where something is to be removed and there is no table.
pub(super) fn steps(
    state: &TableState,
    batch: &Batch,
    options: TableOptions,
) -> Result<Vec<Step>, Fault> {
    let insert: Vec<(SetElement, RuleId)> =
        batch.insert.iter().map(element).collect::<Result<_, _>>()?;
    let leaving: BTreeSet<&str> = batch.remove.iter().map(|r| &*r.locator).collect();
    if state.table.is_none() {
        return match batch.remove.is_empty() {
            true => Ok(with_elements(options, insert)),
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
            && leaving.iter().all(|gone| state.rules.contains(gone))
    };
    if is_last && insert.is_empty() {
        return Ok(vec![Step::DropTable]);
    }
    let remove = batch.remove.iter().filter(|r| &*r.locator != WHOLE_TABLE);
    let remove: Vec<SetElement> = remove.map(located).collect::<Result<_, _>>()?;
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
    all.extend(genuine(state).filter(|(element, _)| {
        grown.contains_key(&element.set) && !leaving.contains(element.locator().as_str())
    }));
    steps.push(Step::FlushRules);
    for (set, size) in grown {
        steps.extend([Step::DropSet(set), Step::Set(set, size)]);
    }
    steps.extend([Step::Insert(sorted(all)), Step::Chains]);
    Ok(steps)
}

/// The steps that make a table left by another daemon ours, with our chains; empty where it is as
/// it should be. Its elements stay.
pub(super) fn adoption(state: &TableState, port: u32, options: TableOptions) -> Vec<Step> {
    let Some(found) = state.table else {
        return Vec::new();
    };
    let is_owned = found.flags == options.flags && (options.flags == 0 || found.owner == port);
    if is_owned && state.is_ours_alone && state.has_our_chains {
        return Vec::new();
    }
    if (is_owned || is_orphan(found, options)) && state.is_ours_alone {
        let flags = options.flags;
        return vec![Step::Table { flags }, Step::FlushRules, Step::Chains];
    }
    anew(state, options)
}

/// Whether a table has outlived its owner: only such a table may be taken over.
fn is_orphan(found: TableHeader, options: TableOptions) -> bool {
    found.flags | OWNER_FLAG == options.flags && found.owner == 0
}

/// The steps that make our table anew without an owner, so that nft can save and load it. Empty
/// where there is none, or it has no owner already.
pub(super) fn release(state: &TableState, options: TableOptions) -> Vec<Step> {
    match state.table {
        Some(found) if found.flags != 0 => anew(
            state,
            TableOptions {
                flags: 0,
                ..options
            },
        ),
        _ => Vec::new(),
    }
}

/// The steps that make a table with the same elements, which the kernel removes when its socket is
/// closed.
pub(super) fn stand_in(state: &TableState, options: TableOptions) -> Vec<Step> {
    let flags = OWNER_FLAG;
    copy(state, TableOptions { flags, ..options })
}

/// The table once more, in its own place.
fn anew(state: &TableState, options: TableOptions) -> Vec<Step> {
    let mut steps = vec![Step::DropTable];
    steps.extend(copy(state, options));
    steps
}

/// A table with the same elements.
fn copy(state: &TableState, options: TableOptions) -> Vec<Step> {
    let kept: Vec<(SetElement, RuleId)> = genuine(state).collect();
    let mut steps = table(options, |set| {
        let size = state.sets.get(&set).copied().unwrap_or_default();
        size.max(options.first_size(set))
    });
    steps.push(Step::Insert(sorted(kept)));
    steps
}

/// A new table, large enough for these.
fn with_elements(options: TableOptions, insert: Vec<(SetElement, RuleId)>) -> Vec<Step> {
    let counts = counts(&insert);
    let size = |set: Set| {
        let wanted = counts.get(&set).copied().unwrap_or_default();
        size_for(options.first_size(set), wanted)
    };
    let mut steps = table(options, size);
    steps.push(Step::Insert(sorted(insert)));
    steps
}

/// Every element that is a rule of ours, with the identity in its comment.
fn genuine(state: &TableState) -> impl Iterator<Item = (SetElement, RuleId)> {
    let rules = state.rules.all();
    rules.filter_map(|seen| Some((SetElement::read(&seen.content()?.text)?, seen.id)))
}

fn counts(insert: &[(SetElement, RuleId)]) -> BTreeMap<Set, usize> {
    let mut counts = BTreeMap::new();
    for (element, _) in insert
        .iter()
        .filter(|(element, _)| element.set.is_per_port())
    {
        *counts.entry(element.set).or_default() += 1;
    }
    counts
}

/// The sets that would be too small, and how large they must be.
fn grown(
    state: &TableState,
    leaving: &BTreeSet<&str>,
    insert: &[(SetElement, RuleId)],
) -> BTreeMap<Set, u32> {
    let mut grown = BTreeMap::new();
    for (set, coming) in counts(insert) {
        let size = state.sets.get(&set).copied().unwrap_or_default();
        // A bound that costs little to compute, and is enough most of the time.
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
fn sorted<T: Ord>(mut elements: Vec<T>) -> Vec<T> {
    elements.sort();
    elements
}

fn element(rule: &Rule) -> Result<(SetElement, RuleId), Fault> {
    let element = match rule.backend {
        BackendKind::Nftables => SetElement::read(&rule.text),
        BackendKind::Ip6tables => None,
    };
    let id = rule.id();
    let not_ours = || Fault {
        kind: ErrorKind::Failed,
        detail: format!("rule {id} is for another backend"),
    };
    element.map(|element| (element, id)).ok_or_else(not_ours)
}

fn located(gone: &ObservedRule) -> Result<SetElement, Fault> {
    SetElement::located(&gone.locator).ok_or_else(|| Fault {
        kind: ErrorKind::Failed,
        detail: format!("not a locator of this backend: {:?}", gone.locator),
    })
}

#[cfg(test)]
mod tests;

//! Looking at our table, and at nothing else: foreign ones are not read.
//!
//! A table takes several requests, between which it may change. So the generation id is asked
//! for before and after, and the answer counts if nothing changed in between. But that id is of
//! all tables, and whoever changes others all the time must not keep us from ours: what is read
//! twice in a row, the same to the last element, counts as well.

use std::collections::BTreeMap;
use std::time::Instant;

use super::chains::chains;
use super::decode::{Elements, Rules, Table, is_chain, own_set};
use super::element::Item;
use super::encode::Step;
use super::fault::Fault;
use super::link::{Ended, Link, dump, generation, get};
use super::plan::Make;
use super::sets::Set;
use super::wire::{chain, element, message, rule, set, table};
use crate::backend::{Batch, ObservedRule};
use crate::model::rule::RuleId;
use crate::netlink::message::Writer;

/// How often a table is read before changes of others make it uncertain.
const TRIES: usize = 5;

/// Sets and chains of a whole table.
const OBJECTS: u32 = 13 + 5;

/// What stands in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    /// The table, if it is there.
    pub(super) table: Option<Table>,
    /// The sizes of the sets that are made as ours are.
    pub(super) sets: BTreeMap<Set, u32>,
    /// Every set and chain is there, and nothing else.
    pub(super) is_ours_alone: bool,
    /// Chains and rules are as we make them.
    pub(super) has_our_chains: bool,
    /// By locator.
    pub(super) rules: BTreeMap<String, ObservedRule>,
}

/// How it is found that a table without elements is to be removed: the locator of no element.
pub(super) const WHOLE_TABLE: &str = "table";

impl State {
    /// All that is ours, one entry per element. A table without any is one thing to remove.
    pub(super) fn observed(&self) -> Vec<ObservedRule> {
        if self.table.is_some() && self.rules.is_empty() {
            return vec![ObservedRule {
                id: RuleId::from_bytes([0; 8]),
                rule: None,
                locator: WHOLE_TABLE.to_owned(),
                is_misplaced: false,
            }];
        }
        self.rules.values().cloned().collect()
    }

    /// Whether the table belongs to the socket with this port, and to nobody else.
    pub(super) fn is_owned_by(&self, port: u32) -> bool {
        let owned = |found: Table| found.flags == table::OWNED && found.owner == port;
        self.table.is_some_and(owned) && self.is_ours_alone && self.has_our_chains
    }

    /// How many elements a set holds.
    pub(super) fn count(&self, set: Set) -> usize {
        let name = format!("{} ", set.name());
        let after = self.rules.range(name.clone()..);
        after.take_while(|(l, _)| l.starts_with(&name)).count()
    }
}

impl State {
    /// What stands there once these steps, which were those for `batch`, are done.
    pub(super) fn follow(&mut self, steps: &[Step], batch: &Batch, make: Make, port: u32) {
        for step in steps {
            match step {
                Step::Table { flags } => {
                    self.table = Some(Table {
                        flags: *flags,
                        owner: if make.flags == 0 { 0 } else { port },
                        objects: OBJECTS,
                    });
                    self.is_ours_alone = true;
                    self.has_our_chains = true;
                }
                Step::DropTable => *self = Self::default(),
                Step::Set(set, size) => {
                    self.sets.insert(*set, *size);
                }
                Step::DropSet(set) => {
                    // What goes with it is none of ours.
                    let name = format!("{} ", set.name());
                    self.rules
                        .retain(|l, seen| seen.rule.is_some() || !l.starts_with(&name));
                }
                Step::Chains | Step::FlushRules | Step::Insert(_) | Step::Remove(_) => {}
            }
        }
        for gone in &batch.remove {
            self.rules.remove(&gone.locator);
        }
        for rule in &batch.insert {
            let Some(item) = Item::of(&rule.spec) else {
                continue;
            };
            let locator = item.locator();
            let observed = ObservedRule {
                id: rule.id(),
                rule: Some(rule.clone()),
                locator: locator.clone(),
                is_misplaced: false,
            };
            self.rules.insert(locator, observed);
        }
    }
}

/// The generation that a change makes of this one (`nft_base_seq`: never 0).
pub(super) fn next_generation(generation: u32) -> u32 {
    generation.checked_add(1).unwrap_or(1)
}

/// Reads the table of this name, and tells the generation that it belongs to.
pub(super) fn look(
    link: &mut dyn Link,
    deadline: Instant,
    name: &str,
) -> Result<(u32, State), Fault> {
    let mut last = None;
    for _ in 0..TRIES {
        let before = generation(link, deadline)?;
        let (state, ended) = read(link, deadline, name)?;
        let quiet = ended == Ended::Whole && generation(link, deadline)? == before;
        let seen = (ended != Ended::Early).then_some(state);
        match seen {
            Some(state) if quiet || last.as_ref() == Some(&state) => return Ok((before, state)),
            seen => last = seen,
        }
    }
    Err(Fault::uncertain("the table changes all the time"))
}

/// Reads what the kernel says of the table itself.
pub(super) fn table(
    link: &mut dyn Link,
    deadline: Instant,
    name: &str,
) -> Result<Option<Table>, Fault> {
    let by_name = |w: &mut Writer| w.text(table::NAME, name);
    let found = get(link, deadline, message::GET_TABLE, &by_name)?;
    Ok(found.map(|found| Table::read(&found)).transpose()?)
}

/// Reads it once; and whether something changed meanwhile.
fn read(link: &mut dyn Link, deadline: Instant, name: &str) -> Result<(State, Ended), Fault> {
    let mut state = State::default();
    let Some(found) = table(link, deadline, name)? else {
        return Ok((state, Ended::Whole));
    };
    state.table = Some(found);
    let of_table = |w: &mut Writer| w.text(set::TABLE, name);
    let sets = &mut state.sets;
    let mut ended = dump(
        link,
        deadline,
        message::GET_SET,
        &of_table,
        &mut |payload| {
            sets.extend(own_set(payload)?);
            Ok(())
        },
    )?;
    let wanted = chains();
    let mut has_our_chains = true;
    let mut chains_there = 0;
    for chain in &wanted {
        let by_name = |w: &mut Writer| {
            w.text(chain::TABLE, name);
            w.text(chain::NAME, chain.name);
        };
        let found = get(link, deadline, message::GET_CHAIN, &by_name)?;
        chains_there += usize::from(found.is_some());
        has_our_chains &= match found {
            Some(found) => is_chain(chain, &found)?,
            None => false,
        };
    }
    state.is_ours_alone = found.objects as usize == chains_there + state.sets.len()
        && has_our_chains
        && state.sets.len() == Set::ALL.len();
    let of_table = |w: &mut Writer| w.text(rule::TABLE, name);
    let mut rules = Rules::default();
    ended = ended.max(dump(
        link,
        deadline,
        message::GET_RULE,
        &of_table,
        &mut |payload| Ok(rules.read(payload)?),
    )?);
    state.has_our_chains = has_our_chains && rules.are(&wanted);
    for set in Set::ALL
        .into_iter()
        .filter(|set| state.sets.contains_key(set))
    {
        let of_set = |w: &mut Writer| {
            w.text(element::LIST_TABLE, name);
            w.text(element::LIST_SET, set.name());
        };
        let mut elements = Elements::default();
        ended = ended.max(dump(
            link,
            deadline,
            message::GET_ELEMENTS,
            &of_set,
            &mut |payload| Ok(elements.read(payload)?),
        )?);
        for observed in elements.observed(set) {
            state.rules.insert(observed.locator.clone(), observed);
        }
    }
    Ok((state, ended))
}

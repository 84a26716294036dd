//! Lists our table, and no other.
//!
//! It takes several requests, between which the table may change. So the generation id is asked
//! for before and after, and the answer counts if nothing changed in between. But that id is of
//! all tables, and a program that keeps changing others must not keep us from ours: what is read
//! twice in a row, the same to the last element, counts as well.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::chains::chains;
use super::error::Fault;
use super::exec::Call;
use super::members::Members;
use super::parse::{Elements, Rules, TableHeader, is_chain, own_set};
use super::render::Step;
use super::sets::Set;
use crate::backend::{Batch, ObservedRule};
use crate::model::rule::{Rule, RuleId};
use crate::netlink::NetlinkError;
use crate::netlink::message::Writer;
use crate::netlink::nf_tables::{chain, element, message, rule, set, table};
use crate::netlink::request::Ended;

/// How often a table that keeps changing is read before the listing counts as uncertain.
const TRIES: usize = 5;

/// Sets and chains of a whole table.
const OBJECTS: u32 = 13 + 5;

/// What stands in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TableState {
    /// The table, if it is there.
    pub(super) table: Option<TableHeader>,
    /// The sizes of the sets that are made as ours are.
    pub(super) sets: BTreeMap<Set, u32>,
    /// Every set and chain is there, and nothing else.
    pub(super) is_ours_alone: bool,
    /// Chains and rules are as we make them.
    pub(super) has_our_chains: bool,
    /// By locator.
    pub(super) rules: Members,
}

/// The locator by which a table without elements is removed; no element has it.
pub(super) const WHOLE_TABLE: &str = "table";

impl TableState {
    /// All that is ours, one entry per element. A table without any is one thing to remove.
    pub(super) fn observed(&self) -> Vec<ObservedRule> {
        if self.table.is_some() && self.rules.is_empty() {
            let nobody = RuleId::from_bytes([0; 8]);
            return vec![ObservedRule::new(nobody, None, WHOLE_TABLE)];
        }
        self.rules.all().cloned().collect()
    }

    /// The part of the same with these identities.
    pub(super) fn observed_of(&self, ids: &BTreeSet<RuleId>) -> Vec<ObservedRule> {
        if self.rules.is_empty() {
            let mut observed = self.observed();
            observed.retain(|seen| ids.contains(&seen.id));
            return observed;
        }
        self.rules.of(ids)
    }

    /// Whether the table belongs to the socket with this port alone.
    pub(super) fn is_owned_by(&self, port: u32) -> bool {
        let owned = |found: TableHeader| found.flags == table::OWNED && found.owner == port;
        self.table.is_some_and(owned) && self.is_ours_alone && self.has_our_chains
    }

    /// How many elements a set holds.
    pub(super) fn count(&self, set: Set) -> usize {
        self.rules.count(set)
    }

    /// What stands there once these steps, which were those for `batch`, are done.
    pub(super) fn follow(&mut self, steps: &[Step], batch: &Batch, port: u32) {
        for step in steps {
            match step {
                Step::Table { flags } => {
                    self.table = Some(TableHeader {
                        flags: *flags,
                        owner: if *flags == 0 { 0 } else { port },
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
                    // Elements in it that are not ours go with it.
                    self.rules
                        .remove_from(*set, |seen| seen.content().is_none());
                }
                Step::Chains | Step::FlushRules | Step::Insert(_) | Step::Remove(_) => {}
            }
        }
        for gone in &batch.remove {
            self.rules.remove(&gone.locator);
        }
        let inserted = batch.insert.iter().map(|rule| (rule.id(), rule));
        let inserted: HashMap<RuleId, &Rule> = inserted.collect();
        let elements = steps.iter().filter_map(|step| match step {
            Step::Insert(elements) => Some(elements),
            _ => None,
        });
        for (element, id) in elements.flatten() {
            if let Some(rule) = inserted.get(id) {
                let (rule, locator) = (Rule::clone(rule), element.locator());
                self.rules
                    .insert(ObservedRule::new(*id, Some(rule), locator));
            }
        }
    }
}

/// Reads the table of this name, and returns it with the generation that it belongs to.
pub(super) fn list(call: &mut Call<'_>, name: &str) -> Result<(u32, TableState), Fault> {
    let mut last = None;
    for _ in 0..TRIES {
        let before = call.generation()?;
        let (state, ended) = match read(call, name) {
            Err(error) if error.is_overtaken() => {
                last = None;
                continue;
            }
            read => read?,
        };
        let quiet = ended == Ended::Whole && call.generation()? == before;
        if quiet || last.as_ref() == Some(&state) {
            return Ok((before, state));
        }
        last = Some(state);
    }
    Err(Fault::uncertain("the table changes all the time"))
}

/// Reads what the kernel says of the table itself.
pub(super) fn table(call: &mut Call<'_>, name: &str) -> Result<Option<TableHeader>, NetlinkError> {
    let by_name = |w: &mut Writer| w.text(table::NAME, name);
    let found = call.get(message::GET_TABLE, &by_name)?;
    Ok(found.map(|found| TableHeader::read(&found)).transpose()?)
}

/// Reads it once; and whether something changed meanwhile.
fn read(call: &mut Call<'_>, name: &str) -> Result<(TableState, Ended), NetlinkError> {
    let mut state = TableState::default();
    let Some(found) = table(call, name)? else {
        return Ok((state, Ended::Whole));
    };
    state.table = Some(found);
    let of_table = |w: &mut Writer| w.text(set::TABLE, name);
    let sets = &mut state.sets;
    let mut ended = call.dump(message::GET_SET, &of_table, &mut |payload| {
        sets.extend(own_set(payload)?);
        Ok(())
    })?;
    let wanted = chains();
    let mut has_our_chains = true;
    let mut chains_there = 0;
    for chain in &wanted {
        let by_name = |w: &mut Writer| {
            w.text(chain::TABLE, name);
            w.text(chain::NAME, chain.name);
        };
        let found = call.get(message::GET_CHAIN, &by_name)?;
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
    let mut take = |payload: &[u8]| rules.read(payload);
    ended = ended.max(call.dump(message::GET_RULE, &of_table, &mut take)?);
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
        let mut take = |payload: &[u8]| elements.read(payload);
        ended = ended.max(call.dump(message::GET_ELEMENTS, &of_set, &mut take)?);
        for observed in elements.observed(set) {
            state.rules.insert(observed);
        }
    }
    Ok((state, ended))
}

//! Rules of an earlier release, whose identities were others.

use std::collections::{BTreeMap, BTreeSet};

use crate::backend::kind::{is_inside, is_part_of_inside};
use crate::backend::{Backend, BackendError, Batch, ObservedRule, Verb};
use crate::journal::record::{Record, Records};
use crate::model::change::ChangeSet;
use crate::model::rule::{BackendKind, Rule, RuleFacts, RuleId};
use crate::netlink::watch::OwnPorts;

/// A backend whose kernel may hold such rules. They are recognised by what their records say of them.
/// One without a record is believed if it stood there when this run first listed the kernel: its
/// record may be lost, and until Docker answers its port must not close.
pub(super) struct Recognising {
    backend: Box<dyn Backend>,
    /// By the identities that they were inserted under.
    earlier: BTreeMap<RuleId, RuleFacts>,
    /// The identities of all records of earlier runs; `None` after the first listing.
    recorded: Option<BTreeSet<RuleId>>,
}

impl Recognising {
    pub(super) fn new(backend: Box<dyn Backend>) -> Self {
        Self {
            backend,
            earlier: BTreeMap::new(),
            recorded: None,
        }
    }

    /// These are the records that earlier runs have left.
    pub(super) fn know(&mut self, records: &BTreeMap<RuleId, Record>) {
        let rules = records.iter().map(|(id, record)| (id, &record.owned.rule));
        let textless = rules.filter(|(_, rule)| rule.text.is_empty());
        self.earlier = textless
            .map(|(id, rule)| (*id, rule.facts.clone()))
            .collect();
        self.recorded = Some(records.keys().copied().collect());
    }

    /// Recognises rules among these; `recorded` are the records of earlier runs, at the first listing.
    fn recognise(&mut self, observed: &mut [ObservedRule], recorded: Option<&BTreeSet<RuleId>>) {
        for seen in observed {
            let Some(content) = &seen.altered else {
                continue;
            };
            if recorded.is_some_and(|ids| !ids.contains(&seen.id)) {
                self.earlier.insert(seen.id, content.facts.clone());
            }
            let earlier = self.earlier.get(&seen.id);
            if earlier.is_some_and(|facts| do_the_same(facts, &content.facts)) {
                let (kind, text) = (self.backend.kind(), content.text.clone());
                seen.rule = Some(Rule::recorded(seen.id, kind, text, content.facts.clone()));
                seen.altered = None;
            }
        }
    }
}

/// Rules that are to go, and whose work a rule does that is yet to come: an earlier release had several
/// in its place. They stay until it is there.
pub(super) fn superseded(change: &ChangeSet, records: &Records) -> BTreeSet<RuleId> {
    let rules = change.insert.iter().map(|owned| &owned.rule);
    let coming: BTreeSet<_> = rules
        .filter(|rule| is_inside(&rule.facts))
        .filter_map(|rule| rule.dnat())
        .collect();
    let goes_on = |id: &&RuleId| {
        let record = records.get(id);
        record.is_some_and(|record| {
            let rule = &record.owned.rule;
            let dnat = rule.dnat();
            is_part_of_inside(&rule.facts) && dnat.is_some_and(|dnat| coming.contains(&dnat))
        })
    };
    change.remove.iter().filter(goes_on).copied().collect()
}

/// Whether two rules do the same, whatever the order in which their releases insert them.
fn do_the_same(one: &RuleFacts, other: &RuleFacts) -> bool {
    one.key() == other.key() && one.target == other.target
}

impl Backend for Recognising {
    fn kind(&self) -> BackendKind {
        self.backend.kind()
    }

    fn list(&mut self) -> Result<Vec<ObservedRule>, BackendError> {
        let mut observed = self.backend.list()?;
        let recorded = self.recorded.take();
        self.recognise(&mut observed, recorded.as_ref());
        Ok(observed)
    }

    fn list_of(&mut self, ids: &BTreeSet<RuleId>) -> Result<Vec<ObservedRule>, BackendError> {
        let mut observed = self.backend.list_of(ids)?;
        self.recognise(&mut observed, None);
        Ok(observed)
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), BackendError> {
        self.backend.commit(batch)
    }

    fn connections(&mut self) -> Result<BTreeMap<RuleId, u64>, BackendError> {
        self.backend.connections()
    }

    fn own_ports(&self) -> OwnPorts {
        self.backend.own_ports()
    }

    fn leave(&mut self) -> Result<(), BackendError> {
        self.backend.leave()
    }

    fn describe(&self, verb: Verb, rule: &Rule) -> String {
        self.backend.describe(verb, rule)
    }
}

//! Rules of an earlier release, whose identities were others.

use std::collections::BTreeMap;

use crate::backend::{Backend, BackendError, Batch, ObservedRule, Verb};
use crate::journal::record::Record;
use crate::model::rule::{BackendKind, Rule, RuleId};
use crate::netlink::watch::OwnPorts;

/// A backend whose kernel may hold such rules. They are recognised by what their records say of them.
pub(super) struct Recognising {
    backend: Box<dyn Backend>,
    /// As recorded, without a text.
    earlier: BTreeMap<RuleId, Rule>,
}

impl Recognising {
    pub(super) fn new(backend: Box<dyn Backend>) -> Self {
        Self {
            backend,
            earlier: BTreeMap::new(),
        }
    }

    /// These are the records that an earlier run has left.
    pub(super) fn know<'r>(&mut self, records: impl Iterator<Item = &'r Record>) {
        let rules = records.map(|record| &record.owned.rule);
        let nameless = rules.filter(|rule| rule.text.is_empty());
        self.earlier = nameless.map(|rule| (rule.id(), rule.clone())).collect();
    }
}

impl Backend for Recognising {
    fn kind(&self) -> BackendKind {
        self.backend.kind()
    }

    fn list(&mut self) -> Result<Vec<ObservedRule>, BackendError> {
        let mut observed = self.backend.list()?;
        for seen in &mut observed {
            let recorded = self.earlier.get(&seen.id);
            let is_as_recorded =
                |content: &mut Rule| recorded.is_some_and(|rule| rule.facts == content.facts);
            if let Some(content) = seen.altered.take_if(is_as_recorded) {
                let Rule { facts, text, .. } = content;
                seen.rule = Some(Rule::recorded(seen.id, self.backend.kind(), text, facts));
            }
        }
        Ok(observed)
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), BackendError> {
        self.backend.commit(batch)
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

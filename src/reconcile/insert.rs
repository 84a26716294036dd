//! Insertions and replacements, which follow a flushed intent.

use std::collections::BTreeSet;

use super::Reconciler;
use super::apply::{Applier, BATCH_TRIES, Edit};
use super::change_log::ChangeLog;
use super::report::{Report, Trouble};
use crate::journal::Journal;
use crate::journal::record::{Record, RecordEvent, RecordState};
use crate::model::change::{ChangeSet, Replacement};
use crate::model::rule::{OwnedRule, Rule, RuleId};

/// A rule that is to come into the kernel.
struct Arrival<'c> {
    id: RuleId,
    rule: &'c Rule,
    /// The rule whose place it takes.
    old: Option<RuleId>,
    /// Its record, as it is to be.
    record: Record,
    /// Whether the journal has that already, because another program has removed the rule.
    is_recorded: bool,
}

impl Arrival<'_> {
    fn edit(&self) -> Edit<'_> {
        Edit {
            old: self.old,
            new: Some(self.rule),
        }
    }
}

impl<J: Journal> Reconciler<J> {
    /// Inserts and replaces, after the intent is on the disk. Without it, only those rules come that
    /// another program has removed, for the journal holds their records; and those go whose replacement
    /// does something else: a port must not stay open to an address that its container has left because
    /// the disk is full.
    pub(super) fn insert(&mut self, change: &ChangeSet, now: u64, report: &mut Report) {
        let outdated = self.outdated(change);
        let fresh = change.insert.iter().map(|owned| (owned, None));
        let replaced = change.replace.iter().map(|r| (&r.new, Some(r.old)));
        let mut arrivals: Vec<Arrival<'_>> = fresh
            .chain(replaced)
            .map(|(owned, old)| self.arrival(owned, old, now))
            .collect();
        if !self.intend(&arrivals) {
            self.remove(&outdated, report);
            arrivals.retain(|it| it.is_recorded && it.old.is_none());
            if arrivals.is_empty() {
                return;
            }
        }
        for Arrival { id, record, .. } in &arrivals {
            self.owed.settle(*id);
            self.records.put(record.clone());
        }
        let fresh = arrivals.iter().filter(|it| it.old.is_none());
        self.connections.keep(fresh.map(|it| it.rule), &self.log);
        let log = ChangeLog {
            log: &self.log,
            records: Some(&self.records),
            event_at: self.event_at,
        };
        let mut applier = Applier::new(&mut self.backend, log, report);
        applier.listing = self.kernel.take_listing();
        let edits: Vec<Edit<'_>> = arrivals.iter().map(Arrival::edit).collect();
        if let Err(incomplete) = applier.apply(&edits, BATCH_TRIES) {
            let (count, last) = (incomplete.count, incomplete.last);
            // Their addresses no longer belong to the containers, even if the kernel refuses the new
            // rules.
            let refused = incomplete.refused_olds.intersection(&outdated);
            self.remove(&refused.copied().collect(), report);
            // Only the next listing can say which rules are there.
            self.kernel.invalidate();
            report.troubles.push(Trouble::Insertion { count, last });
            return;
        }
        let replaced: Vec<RuleId> = arrivals.iter().filter_map(|it| it.old).collect();
        for arrival in arrivals {
            self.step(arrival.id, RecordEvent::Commit);
            self.connections.inserted(&arrival.record.owned.rule);
            if !arrival.is_recorded {
                self.owed.commit(arrival.id);
            }
        }
        self.forget(&replaced);
    }

    fn arrival<'c>(&self, owned: &'c OwnedRule, old: Option<RuleId>, now: u64) -> Arrival<'c> {
        let id = owned.rule.id();
        let record = Record {
            owned: owned.clone(),
            state: RecordState::Intended,
            inserted_at: now,
            boot_id: self.boot_id.clone(),
        };
        Arrival {
            id,
            rule: &owned.rule,
            old,
            is_recorded: self.owed.holds(id, &record),
            record,
        }
    }

    /// Writes the intents that the journal lacks. Returns whether it has all of them.
    fn intend(&mut self, arrivals: &[Arrival<'_>]) -> bool {
        if self.owed.is_behind() {
            return false;
        }
        let new = arrivals.iter().filter(|it| !it.is_recorded);
        let new: Vec<Record> = new.map(|it| it.record.clone()).collect();
        if new.is_empty() {
            return true;
        }
        self.kernel.age();
        let intended = self.journal.intend(&new);
        if let Err(error) = intended {
            self.owed.refused(new.iter().map(Record::id), error);
            return false;
        }
        true
    }

    /// The rules whose replacements do something else, and not the same in another release's words.
    fn outdated(&self, change: &ChangeSet) -> BTreeSet<RuleId> {
        let is_outdated = |replacement: &&Replacement| {
            let record = self.records.get(&replacement.old);
            record.is_none_or(|record| record.owned.rule.facts != replacement.new.rule.facts)
        };
        let outdated = change.replace.iter().filter(is_outdated);
        outdated.map(|replacement| replacement.old).collect()
    }
}

//! Insertions and replacements, which follow a flushed intent.

use std::collections::BTreeSet;

use super::Reconciler;
use super::apply::{Applier, BATCH_TRIES, Edit};
use super::change_log::ChangeLog;
use super::report::{Report, Trouble};
use crate::journal::Journal;
use crate::journal::record::{Record, RecordEvent, State};
use crate::model::change::{ChangeSet, Replacement};
use crate::model::rule::RuleId;

impl<J: Journal> Reconciler<J> {
    /// Inserts and replaces, after the intent is on the disk. Without it, only those rules go whose
    /// replacement does something else: a port must not stay open to an address that its container has
    /// left because the disk is full.
    pub(super) fn insert(&mut self, change: &ChangeSet, now: u64, report: &mut Report) {
        let outdated = self.outdated(change);
        if self.owed.is_behind() {
            return self.remove(&outdated, report);
        }
        let fresh = change.insert.iter().map(|owned| (owned, None));
        let replaced = change.replace.iter().map(|r| (&r.new, Some(r.old)));
        let (mut edits, mut records, mut new) = (Vec::new(), Vec::new(), Vec::new());
        for (owned, old) in fresh.chain(replaced) {
            let (id, new_rule) = (owned.rule.id(), Some(&owned.rule));
            let record = Record {
                owned: owned.clone(),
                state: State::Intended,
                inserted_at: now,
                boot_id: self.boot_id.clone(),
            };
            edits.push(Edit { old, new: new_rule });
            if !self.owed.holds(id, &record) {
                new.push((id, record.clone()));
            }
            records.push((id, record));
        }
        let (new_ids, new): (Vec<RuleId>, Vec<Record>) = new.into_iter().unzip();
        if !new.is_empty() {
            self.kernel.age();
            if let Err(error) = self.journal.intend(&new) {
                self.owed.refused(new_ids, error);
                return self.remove(&outdated, report);
            }
        }
        for (id, record) in &records {
            self.owed.settle(*id);
            self.records.put(record.clone());
        }
        self.connections.keep(change, &self.log);
        let log = ChangeLog {
            log: &self.log,
            records: Some(&self.records),
            event_at: self.event_at,
        };
        let mut applier = Applier::new(&mut self.backend, log, report);
        applier.listing = self.kernel.take_listing();
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
        for (id, record) in records {
            self.step(id, RecordEvent::Commit);
            self.connections.inserted(&record.owned.rule);
        }
        for id in new_ids {
            self.owed.commit(id);
        }
        self.forget(change.replace.iter().map(|replacement| &replacement.old));
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

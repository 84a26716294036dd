//! Removals, which never wait for the disk.

use std::collections::BTreeSet;

use slog::debug;

use super::Reconciler;
use super::apply::{Applier, BATCH_TRIES, Edit, Incomplete};
use super::change_log::ChangeLog;
use super::report::{Operation, Report, Trouble};
use crate::journal::Journal;
use crate::journal::record::RecordEvent;
use crate::model::rule::RuleId;

impl<J: Journal> Reconciler<J> {
    /// Removes every copy of `ids` from the kernel, then their records.
    pub(super) fn remove(&mut self, ids: &BTreeSet<RuleId>, report: &mut Report) {
        if ids.is_empty() {
            return;
        }
        self.kernel.age();
        let list: Vec<RuleId> = ids.iter().copied().collect();
        if let Err(error) = self.journal.removing(&list) {
            // Not owed: recovery treats all states alike.
            debug!(self.log, "removal not marked in the journal"; "reason" => %error);
        }
        for id in ids {
            self.step(*id, RecordEvent::Remove);
        }
        let edits: Vec<Edit<'_>> = list.into_iter().map(Edit::removal).collect();
        let log = ChangeLog {
            log: &self.log,
            records: Some(&self.records),
            event_at: self.event_at,
        };
        let mut applier = Applier::new(&mut self.backend, log, report);
        let left = match applier.apply(&edits, BATCH_TRIES) {
            Ok(()) => Ok((BTreeSet::new(), None)),
            Err(Incomplete { last, is_known, .. }) if !is_known => Err(last),
            Err(Incomplete { last, .. }) => applier.left(&edits).map(|left| (left, Some(last))),
        };
        if applier.missed_some {
            self.kernel.suspect();
        }
        let (left, failure) = left.unwrap_or_else(|last| {
            // Only the next listing can say which rules are there.
            self.kernel.invalidate();
            (ids.clone(), Some(last))
        });
        for record in left.iter().filter_map(|id| self.records.get(id)) {
            let kind = record.owned.rule.facts.kind.clone();
            report.count(Operation::Remove, kind, false);
        }
        if let Some(last) = failure.filter(|_| !left.is_empty()) {
            let count = left.len();
            report.troubles.push(Trouble::Removal { count, last });
        }
        self.forget(ids.difference(&left));
    }

    /// These rules are gone from the kernel.
    pub(super) fn forget<'i>(&mut self, ids: impl IntoIterator<Item = &'i RuleId>) {
        for id in ids {
            if let Some(record) = self.step(*id, RecordEvent::Forget) {
                self.connections.removed(&record.owned.rule);
            }
            self.owed.forget(*id);
        }
    }
}

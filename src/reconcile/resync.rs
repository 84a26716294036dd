//! Resync: the kernel's listing decides what is applied.

use std::collections::BTreeSet;

use slog::{info, warn};

use super::Reconciler;
use super::apply::{Applier, Copies, Edit};
use super::change_log::ChangeLog;
use super::listing::{Kernel, Listing};
use super::report::{Report, Trouble};
use crate::backend::{Backend, Batch, ObservedRule};
use crate::journal::Journal;
use crate::journal::record::{Record, RecordEvent, RecordState};
use crate::model::boot::BootId;
use crate::model::rule::{OwnedRule, RuleId};

impl<J: Journal> Reconciler<J> {
    /// Lists the kernel and makes `records` agree with it: unknown rules of ours are adopted,
    /// recorded ones that are not there any more are dropped, surplus and altered copies are
    /// removed.
    ///
    /// # Errors
    /// The listing failed or is uncertain; nothing was changed, and the next round lists again.
    pub(super) fn resync(&mut self, now: u64, report: &mut Report) -> Result<(), Trouble> {
        self.kernel.age();
        let observed = self.backend.list().map_err(Trouble::Listing)?;
        let listing = Listing::sort(observed.clone());
        self.kernel = Kernel::Listed(observed);
        self.drop_lost(&listing, report);
        self.adopt(&listing, now);
        // Nothing is inserted while the journal is behind: it may lack the rule's record.
        if !listing.misplaced.is_empty() && self.pay() {
            self.kernel.age();
            self.move_misplaced(listing.misplaced, report);
        }
        if !listing.surplus.is_empty() {
            self.remove_surplus(&listing.surplus, report);
        }
        Ok(())
    }

    /// Moves rules of ours to where they belong. Their records stay.
    fn move_misplaced(&mut self, remove: Vec<ObservedRule>, report: &mut Report) {
        let count = remove.len();
        warn!(self.log, "putting rules of ours back behind others' that come first"; "count" => count);
        let insert = remove.iter().filter_map(|seen| seen.rule.clone()).collect();
        let log = ChangeLog {
            log: &self.log,
            records: Some(&self.records),
            event_at: self.event_at,
        };
        let mut applier = Applier::new(&mut self.backend, log, report);
        match applier.commit(Batch { remove, insert }) {
            Ok(()) => report.drift += count,
            Err(last) => {
                // The old ones may be gone.
                self.kernel.suspect();
                report.troubles.push(Trouble::Insertion { count, last });
            }
        }
    }

    fn drop_lost(&mut self, listing: &Listing, report: &mut Report) {
        let here = self.backend.kind();
        let is_lost = |(id, record): &(&RuleId, &Record)| {
            record.owned.rule.backend == here && !listing.genuine.contains_key(id)
        };
        let lost = self.records.iter().filter(is_lost);
        let lost: Vec<RuleId> = lost.map(|(id, _)| *id).collect();
        if lost.is_empty() {
            return;
        }
        self.log_lost(&lost);
        for id in lost {
            if let Some(record) = self.step(id, RecordEvent::Forget) {
                report.drift += usize::from(record.state == RecordState::Applied);
                self.connections.removed(&record.owned.rule);
                self.owed.lose(id, record);
            }
        }
    }

    /// Somebody can have removed only those rules that were there in this boot.
    fn log_lost(&self, lost: &[RuleId]) {
        let records: Vec<&Record> = lost.iter().filter_map(|id| self.records.get(id)).collect();
        let (applied, begun): (Vec<&Record>, Vec<&Record>) = records
            .into_iter()
            .partition(|record| record.state == RecordState::Applied);
        let count = |earlier: bool| {
            let of = applied.iter();
            of.filter(|record| self.is_of_earlier_boot(record) == earlier)
                .count()
        };
        let words = "recorded rules are not in the kernel any more";
        match count(true) {
            0 => {}
            count => info!(self.log, "{words}"; "count" => count, "of" => "an earlier boot"),
        }
        match count(false) {
            0 => {}
            count => warn!(self.log, "{words}"; "count" => count),
        }
        if !begun.is_empty() {
            info!(self.log, "rules whose insertion or removal was cut off are not in the kernel";
                "count" => begun.len());
        }
    }

    fn adopt(&mut self, listing: &Listing, now: u64) {
        let mut adopted = 0;
        for (id, rule) in &listing.genuine {
            match self.records.get(id).map(|record| record.state) {
                Some(RecordState::Applied) => continue,
                // What was being removed and is still there is applied again, too.
                Some(_) => drop(self.step(*id, RecordEvent::Write(RecordState::Applied))),
                None => {
                    adopted += 1;
                    let record = Record {
                        owned: OwnedRule {
                            rule: rule.clone(),
                            owners: BTreeSet::new().into(),
                        },
                        state: RecordState::Applied,
                        inserted_at: now,
                        // The boot in which it was inserted is not known.
                        boot_id: BootId::new(""),
                    };
                    self.records.put(record);
                }
            }
            self.owed.record(*id);
        }
        if adopted > 0 {
            info!(self.log, "adopted rules of ours that the journal did not know"; "count" => adopted);
        }
    }

    fn remove_surplus(&mut self, surplus: &[ObservedRule], report: &mut Report) {
        let count = surplus.len();
        warn!(self.log, "removing surplus or altered copies of our rules"; "count" => count);
        let ids: BTreeSet<RuleId> = surplus.iter().map(|seen| seen.id).collect();
        let edits: Vec<Edit<'_>> = ids.into_iter().map(Edit::removal).collect();
        let before = report.removed;
        let mut applier = Applier::silent(&mut self.backend, report);
        applier.listing = self.kernel.take_listing();
        applier.copies = Copies::Surplus;
        let applied = applier.apply(&edits, 1);
        report.drift += report.removed - before;
        if let Err(incomplete) = applied {
            self.kernel.suspect();
            let (count, last) = (incomplete.count, incomplete.last);
            report.troubles.push(Trouble::Removal { count, last });
        }
    }

    /// The record was written before the machine was booted.
    pub(super) fn is_of_earlier_boot(&self, record: &Record) -> bool {
        !record.boot_id.as_str().is_empty() && record.boot_id != self.boot_id
    }
}

//! Resync: the kernel's listing decides what is applied.

use std::collections::BTreeSet;

use slog::{info, warn};

use super::listing::{Kernel, Listing, recognise};
use super::report::{Report, Trouble};
use super::{Reconciler, blames_no_rule};
use crate::backend::{BackendError, Batch, ObservedRule};
use crate::journal::Journal;
use crate::journal::record::{Record, State};
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
        let observed = self.list().map_err(Trouble::Listing)?;
        let listing = Listing::sort(observed.clone());
        self.kernel = Kernel::Listed(observed);
        self.drop_lost(&listing, report);
        self.adopt(&listing, now);
        // What the journal may not know is not inserted again.
        if !listing.misplaced.is_empty() && !self.journal_behind {
            self.kernel.age();
            self.put_right(listing.misplaced, report);
        }
        if !listing.surplus.is_empty() {
            self.kernel.age();
            self.remove_surplus(listing.surplus, report);
        }
        Ok(())
    }

    /// Moves rules of ours to where they belong. Their records stand.
    fn put_right(&mut self, remove: Vec<ObservedRule>, report: &mut Report) {
        let count = remove.len();
        warn!(self.log, "putting rules of ours back behind others' that come first"; "count" => count);
        let insert = remove.iter().filter_map(|seen| seen.rule.clone()).collect();
        let batch = Batch { remove, insert };
        match self.backend.commit(&batch) {
            Ok(()) => {
                report.drift += count;
                self.log_done(&batch, report);
            }
            Err(last) => {
                // The old ones may be gone.
                self.kernel.suspect();
                report.troubles.push(Trouble::Insertion { count, last });
            }
        }
    }

    /// What the kernel holds of ours, by our records.
    pub(super) fn list(&mut self) -> Result<Vec<ObservedRule>, BackendError> {
        let mut observed = self.backend.list()?;
        recognise(&mut observed, &self.records);
        Ok(observed)
    }

    fn drop_lost(&mut self, listing: &Listing, report: &mut Report) {
        let here = self.backend.kind();
        let lost: Vec<RuleId> = self
            .records
            .iter()
            .filter(|(id, r)| r.owned.rule.backend == here && !listing.genuine.contains_key(id))
            .map(|(id, _)| *id)
            .collect();
        if lost.is_empty() {
            return;
        }
        for id in &lost {
            if let Some(record) = self.records.remove(id) {
                if record.state == State::Applied {
                    report.drift += 1;
                }
                self.connections.removed(&record.owned.rule);
                // Otherwise the journal may not have it, or not as it is here.
                if record.state == State::Applied && !self.journal_behind {
                    self.lost.insert(*id, record);
                    continue;
                }
            }
            self.gone.insert(*id);
        }
        warn!(self.log, "recorded rules are not in the kernel any more"; "count" => lost.len());
    }

    /// Whatever was lost and has not been put back is to go from the journal, too.
    pub(super) fn forget_lost(&mut self) {
        self.gone.extend(self.lost.keys());
        self.lost.clear();
        self.forget_gone();
    }

    fn adopt(&mut self, listing: &Listing, now: u64) {
        let mut adopted = Vec::new();
        let mut confirmed = Vec::new();
        for (id, rule) in &listing.genuine {
            match self.records.get_mut(id) {
                Some(record) if record.state == State::Applied => {
                    // A record of an earlier release has no text.
                    record.owned.rule.text.clone_from(&rule.text);
                }
                Some(record) => {
                    record.state = State::Applied;
                    confirmed.push(record.clone());
                }
                None => {
                    let record = Record {
                        owned: OwnedRule {
                            rule: rule.clone(),
                            owners: BTreeSet::new(),
                        },
                        state: State::Applied,
                        inserted_at: now,
                        // Nobody knows in which boot it was inserted.
                        boot_id: BootId::new(""),
                    };
                    adopted.push(record.clone());
                    self.records.insert(*id, record);
                    self.gone.remove(id);
                    self.lost.remove(id);
                }
            }
        }
        if !confirmed.is_empty() {
            // Not a commit: what was being removed and is still there is applied again.
            let written = self.journal.intend(&confirmed);
            self.note(written);
        }
        if adopted.is_empty() {
            return;
        }
        info!(self.log, "adopted rules of ours that the journal did not know"; "count" => adopted.len());
        let ids: Vec<RuleId> = adopted.iter().map(Record::id).collect();
        let written = self
            .journal
            .intend(&adopted)
            .and_then(|()| self.journal.commit(&ids));
        self.note(written);
    }

    fn remove_surplus(&mut self, surplus: Vec<ObservedRule>, report: &mut Report) {
        let count = surplus.len();
        warn!(self.log, "removing surplus or altered copies of our rules"; "count" => count);
        match self.remove_all(surplus.clone()) {
            Ok(()) => {
                report.drift += count;
                report.removed += count;
                return;
            }
            Err(last) if blames_no_rule(&last) => {
                self.kernel.suspect();
                report.troubles.push(Trouble::Removal { count, last });
                return;
            }
            Err(_) => {}
        }
        // One of them may be the cause, and must not keep the others in. Others may have gone, and
        // what is listed like them then is the copy that stays.
        let left = match self.list() {
            Ok(observed) => Listing::sort(observed).surplus,
            Err(last) => {
                self.kernel.suspect();
                report.troubles.push(Trouble::Removal { count, last });
                return;
            }
        };
        let gone = count.saturating_sub(left.len());
        report.drift += gone;
        report.removed += gone;
        let mut failure = None;
        for stray in left {
            match self.remove_all(vec![stray]) {
                Ok(()) => {
                    report.drift += 1;
                    report.removed += 1;
                }
                Err(last) => {
                    let count = failure.map_or(1, |(count, _)| count + 1);
                    failure = Some((count, last));
                }
            }
        }
        if let Some((count, last)) = failure {
            self.kernel.suspect();
            report.troubles.push(Trouble::Removal { count, last });
        }
    }

    fn remove_all(&mut self, remove: Vec<ObservedRule>) -> Result<(), BackendError> {
        self.backend.commit(&Batch {
            remove,
            insert: Vec::new(),
        })
    }

    pub(super) fn forget_gone(&mut self) {
        if self.gone.is_empty() {
            return;
        }
        self.kernel.age();
        let gone: Vec<RuleId> = self.gone.iter().copied().collect();
        match self.journal.forget(&gone) {
            Ok(()) => self.gone.clear(),
            Err(error) => self.note(Err(error)),
        }
    }

    /// The record was written before the machine was booted.
    pub(super) fn is_of_earlier_boot(&self, record: &Record) -> bool {
        !record.boot_id.as_str().is_empty() && record.boot_id != self.boot_id
    }
}

//! Insertions and replacements, which follow a flushed intent.

use std::collections::BTreeSet;

use slog::warn;

use super::listing::{Kernel, Listing};
use super::report::{Report, Trouble};
use super::{BATCH_TRIES, Reconciler, blames_no_rule, is_hopeless};
use crate::backend::{BackendError, Batch, Verb};
use crate::journal::record::{Record, State};
use crate::journal::{Journal, JournalError};
use crate::model::change::ChangeSet;
use crate::model::rule::{OwnedRule, Rule, RuleId};

/// A rule to insert, and the rule it replaces.
struct Arrival {
    id: RuleId,
    rule: Rule,
    old: Option<RuleId>,
}

impl<J: Journal> Reconciler<J> {
    /// Inserts and replaces, after the intent is on the disk. Without it, only the delete half
    /// of the replacements is applied: an address that is not the container's any more must
    /// not stay open because the disk is full.
    pub(super) fn insert(&mut self, change: &ChangeSet, now: u64, report: &mut Report) {
        let olds: BTreeSet<RuleId> = change.replace.iter().map(|r| r.old).collect();
        if self.journal_behind {
            // `settle_journal` has just failed and has said so.
            return self.remove(&olds, report);
        }
        let record = |owned: &OwnedRule| Record {
            owned: owned.clone(),
            state: State::Intended,
            inserted_at: now,
            boot_id: self.boot_id.clone(),
        };
        let fresh = change.insert.iter().map(|owned| (owned, None));
        let replaced = change.replace.iter().map(|r| (&r.new, Some(r.old)));
        let (mut arrivals, mut records) = (Vec::new(), Vec::new());
        for (owned, old) in fresh.chain(replaced) {
            let (id, rule) = (owned.rule.id(), owned.rule.clone());
            arrivals.push(Arrival { id, rule, old });
            records.push((id, record(owned)));
        }
        let (standing, new): (Vec<_>, Vec<_>) = records
            .into_iter()
            .partition(|(id, record)| self.stands(*id, record));
        let new_ids: Vec<RuleId> = new.iter().map(|(id, _)| *id).collect();
        if let Err(error) = self.intend(&new) {
            // It may have been written all the same; then it is to be forgotten.
            let unknown = new_ids.iter().filter(|id| !self.records.contains_key(id));
            self.gone.extend(unknown);
            self.journal_behind = true;
            report.troubles.push(Trouble::Journal(error));
            return self.remove(&olds, report);
        }
        for (id, record) in standing.into_iter().chain(new) {
            self.gone.remove(&id);
            self.lost.remove(&id);
            self.records.insert(id, record);
        }
        self.connections.keep(change, &self.log);
        if let Err(Incomplete { count, last }) = self.insert_all(&arrivals, report) {
            // What is there and what is not is for the next listing to say.
            self.kernel = Kernel::Unknown;
            report.troubles.push(Trouble::Insertion { count, last });
            return;
        }
        for Arrival { id, .. } in &arrivals {
            if let Some(record) = self.records.get_mut(id) {
                record.state = State::Applied;
                self.connections.inserted(&record.owned.rule);
            }
        }
        if !new_ids.is_empty() {
            let committed = self.journal.commit(&new_ids);
            self.note(committed);
        }
        if !olds.is_empty() {
            for id in &olds {
                if let Some(record) = self.records.remove(id) {
                    self.connections.removed(&record.owned.rule);
                }
                self.gone.insert(*id);
            }
            self.forget_gone();
        }
    }

    /// Whether it stands in the journal from before, where it was applied when somebody else
    /// removed its rule: a repair does not wait for the disk.
    fn stands(&self, id: RuleId, record: &Record) -> bool {
        let held = self.lost.get(&id);
        held.is_some_and(|h| h.owned == record.owned && h.boot_id == record.boot_id)
    }

    /// Writes down what is about to be inserted, if anything has to be.
    fn intend(&mut self, new: &[(RuleId, Record)]) -> Result<(), JournalError> {
        if new.is_empty() {
            return Ok(());
        }
        self.kernel.age();
        let records: Vec<Record> = new.iter().map(|(_, record)| record.clone()).collect();
        self.journal.intend(&records)
    }

    /// All in one batch.
    fn insert_all(&mut self, arrivals: &[Arrival], report: &mut Report) -> Result<(), Incomplete> {
        let count = arrivals.len();
        let incomplete = |last| Incomplete { count, last };
        let mut tried = Batch::default();
        for attempt in 1.. {
            // Always from a fresh listing: a tool that cannot read the table may still write
            // to it, and what it inserts then could not be found again.
            let batch = self
                .outstanding(arrivals, &tried, report)
                .map_err(incomplete)?;
            if batch.is_empty() {
                return Ok(());
            }
            match self.commit_logged(&batch, report) {
                Ok(()) => return Ok(()),
                Err(error) if is_hopeless(&error) => return Err(incomplete(error)),
                Err(error) if attempt >= BATCH_TRIES && blames_no_rule(&error) => {
                    return Err(incomplete(error));
                }
                Err(_) if attempt >= BATCH_TRIES => break,
                Err(error) => {
                    warn!(self.log, "insertion failed, listing again"; "reason" => %error);
                }
            }
            tried = batch;
        }
        self.insert_halves(arrivals, report)
    }

    /// Half of them at a time, and of what fails half again: a rule that the kernel refuses must not
    /// keep the others out, and each try takes a listing.
    fn insert_halves(
        &mut self,
        arrivals: &[Arrival],
        report: &mut Report,
    ) -> Result<(), Incomplete> {
        let (first, second) = arrivals.split_at(arrivals.len() / 2);
        let mut incomplete: Option<Incomplete> = None;
        for (half, later) in [(first, second.len()), (second, 0)] {
            let Err(Incomplete { count, last }) = self.insert_part(half, report) else {
                continue;
            };
            let before = incomplete.map_or(0, |earlier| earlier.count);
            if blames_no_rule(&last) {
                // What was not tried is not there either.
                let count = count + before + later;
                return Err(Incomplete { count, last });
            }
            incomplete = Some(Incomplete {
                count: count + before,
                last,
            });
        }
        incomplete.map_or(Ok(()), Err)
    }

    fn insert_part(&mut self, part: &[Arrival], report: &mut Report) -> Result<(), Incomplete> {
        if part.is_empty() {
            return Ok(());
        }
        let outcome =
            self.outstanding(part, &Batch::default(), report)
                .and_then(|batch| match batch.is_empty() {
                    true => Ok(()),
                    false => self.commit_logged(&batch, report),
                });
        let Err(last) = outcome else {
            return Ok(());
        };
        if part.len() > 1 && !blames_no_rule(&last) {
            return self.insert_halves(part, report);
        }
        // Their addresses are not the containers' any more, whatever the kernel thinks of the new
        // rules.
        let olds: BTreeSet<RuleId> = part.iter().filter_map(|arrival| arrival.old).collect();
        self.remove(&olds, report);
        let count = part.len();
        Err(Incomplete { count, last })
    }

    fn commit_logged(&mut self, batch: &Batch, report: &mut Report) -> Result<(), BackendError> {
        self.backend.commit(batch)?;
        self.log_done(batch, report);
        Ok(())
    }

    pub(super) fn log_done(&self, batch: &Batch, report: &mut Report) {
        report.removed += batch.remove.len();
        report.inserted += batch.insert.len();
        self.log_removed(&batch.remove);
        for rule in &batch.insert {
            self.log_change(Verb::Add, rule);
        }
    }

    /// What a fresh listing leaves to be done for these arrivals. What `tried`, a batch that
    /// reported failure, has done after all is logged as done.
    fn outstanding(
        &mut self,
        arrivals: &[Arrival],
        tried: &Batch,
        report: &mut Report,
    ) -> Result<Batch, BackendError> {
        let olds: BTreeSet<RuleId> = arrivals.iter().filter_map(|a| a.old).collect();
        let listed = match self.kernel.take_listing() {
            Some(listed) => listed,
            None => self.list()?,
        };
        let (old, rest): (Vec<_>, Vec<_>) = listed.into_iter().partition(|r| olds.contains(&r.id));
        let present = Listing::sort(rest).genuine;
        let old_ids: BTreeSet<RuleId> = old.iter().map(|rule| rule.id).collect();
        let mut done = tried.clone();
        done.remove.retain(|rule| !old_ids.contains(&rule.id));
        done.insert.retain(|rule| present.contains_key(&rule.id()));
        self.log_done(&done, report);
        let insert = arrivals.iter().filter(|a| !present.contains_key(&a.id));
        Ok(Batch {
            remove: old,
            insert: insert.map(|a| a.rule.clone()).collect(),
        })
    }
}

/// Some arrivals are not in the kernel, or may not be.
struct Incomplete {
    count: usize,
    last: BackendError,
}

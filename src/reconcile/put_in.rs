//! Putting in: insertions and replacements, behind a flushed intent.

use std::collections::BTreeSet;

use slog::warn;

use super::look::Seen;
use super::{BATCH_TRIES, Reconciler, Report, Trouble, is_hopeless};
use crate::backend::{BackendError, Batch, Verb};
use crate::journal::Journal;
use crate::journal::record::{Record, State};
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
    pub(super) fn put_in(&mut self, change: &ChangeSet, now: u64, report: &mut Report) {
        let olds: BTreeSet<RuleId> = change.replace.iter().map(|r| r.old).collect();
        if self.journal_behind {
            // `settle_journal` has just failed and has said so.
            return self.take_out(&olds, report);
        }
        let record = |owned: &OwnedRule| Record {
            owned: owned.clone(),
            state: State::Intended,
            inserted_at: now,
            boot_id: self.boot_id.clone(),
        };
        let replacing = change.replace.iter().map(|r| &r.new);
        let records: Vec<Record> = change.insert.iter().chain(replacing).map(record).collect();
        if let Err(error) = self.journal.intend(&records) {
            // It may have been written all the same; then it is to be forgotten.
            let unknown = records.iter().map(Record::id);
            let unknown = unknown.filter(|id| !self.records.contains_key(id));
            self.gone.extend(unknown.collect::<Vec<_>>());
            self.journal_behind = true;
            report.troubles.push(Trouble::Journal(error));
            return self.take_out(&olds, report);
        }
        let fresh = change.insert.iter().map(|owned| (owned, None));
        let replaced = change.replace.iter().map(|r| (&r.new, Some(r.old)));
        let arrivals: Vec<Arrival> = fresh
            .chain(replaced)
            .map(|(owned, old)| Arrival {
                id: owned.rule.id(),
                rule: owned.rule.clone(),
                old,
            })
            .collect();
        for record in records {
            self.gone.remove(&record.id());
            self.records.insert(record.id(), record);
        }
        if let Err(Incomplete { count, last }) = self.insert_all(&arrivals, report) {
            // What is there and what is not is for the next listing to say.
            self.in_doubt = true;
            report.troubles.push(Trouble::Insertion { count, last });
            return;
        }
        let ids: Vec<RuleId> = arrivals.iter().map(|a| a.id).collect();
        for id in &ids {
            if let Some(record) = self.records.get_mut(id) {
                record.state = State::Applied;
                self.stale.inserted(&record.owned.rule);
            }
        }
        let committed = self.journal.commit(&ids);
        self.note(committed);
        if !olds.is_empty() {
            for id in &olds {
                if let Some(record) = self.records.remove(id) {
                    self.stale.removed(&record.owned.rule);
                }
                self.gone.insert(*id);
            }
            self.forget_gone();
        }
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
                Err(_) if attempt >= BATCH_TRIES => break,
                Err(error) => {
                    warn!(self.log, "insertion failed, looking again"; "reason" => %error);
                }
            }
            tried = batch;
        }
        self.insert_each(arrivals, report)
    }

    /// One rule at a time: a rule that the kernel refuses must not keep the others out.
    fn insert_each(&mut self, arrivals: &[Arrival], report: &mut Report) -> Result<(), Incomplete> {
        let mut incomplete = None;
        let mut count = 0;
        for (done, arrival) in arrivals.iter().enumerate() {
            let outcome = self
                .outstanding(std::slice::from_ref(arrival), &Batch::default(), report)
                .and_then(|batch| {
                    if batch.is_empty() {
                        return Ok(());
                    }
                    self.commit_logged(&batch, report)
                });
            if let Err(last) = outcome {
                if let Some(old) = arrival.old {
                    // The address is not the container's any more, whatever the kernel thinks
                    // of the new rule.
                    self.take_out(&BTreeSet::from([old]), report);
                }
                if is_hopeless(&last) {
                    let count = count + arrivals.len() - done;
                    return Err(Incomplete { count, last });
                }
                count += 1;
                incomplete = Some(Incomplete { count, last });
            }
        }
        incomplete.map_or(Ok(()), Err)
    }

    fn commit_logged(&mut self, batch: &Batch, report: &mut Report) -> Result<(), BackendError> {
        self.backend.commit(batch)?;
        self.log_done(batch, report);
        Ok(())
    }

    fn log_done(&self, batch: &Batch, report: &mut Report) {
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
        let (old, rest): (Vec<_>, Vec<_>) = self
            .backend
            .list()?
            .into_iter()
            .partition(|rule| olds.contains(&rule.id));
        let present = Seen::sort(rest).genuine;
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

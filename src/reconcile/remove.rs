//! Removals, which never wait for the disk.

use std::collections::BTreeSet;

use slog::warn;

use super::listing::Kernel;
use super::report::{Report, Trouble};
use super::{BATCH_TRIES, Reconciler, blames_no_rule, is_hopeless};
use crate::backend::{BackendError, Batch, ObservedRule, Verb};
use crate::journal::Journal;
use crate::journal::record::State;
use crate::model::rule::RuleId;

impl<J: Journal> Reconciler<J> {
    /// Removes every copy of `ids` from the kernel, then their records.
    pub(super) fn remove(&mut self, ids: &BTreeSet<RuleId>, report: &mut Report) {
        if ids.is_empty() {
            return;
        }
        let list: Vec<RuleId> = ids.iter().copied().collect();
        self.kernel.age();
        let marked = self.journal.removing(&list);
        self.note(marked);
        for id in ids {
            if let Some(record) = self.records.get_mut(id) {
                record.state = State::Removing;
            }
        }
        let left = match self.remove_whole(ids, report) {
            Ok(()) => BTreeSet::new(),
            Err(Stuck::Hopeless(last)) => {
                self.kernel = Kernel::Unknown;
                let count = ids.len();
                report.troubles.push(Trouble::Removal { count, last });
                return;
            }
            Err(Stuck::TryParts(last)) => match self.remove_parts(ids, report) {
                Ok(left) if left.is_empty() => left,
                Ok(left) => {
                    let count = left.len();
                    report.troubles.push(Trouble::Removal { count, last });
                    left
                }
                Err(last) => {
                    self.kernel = Kernel::Unknown;
                    let count = ids.len();
                    report.troubles.push(Trouble::Removal { count, last });
                    return;
                }
            },
        };
        for id in ids.difference(&left) {
            if let Some(record) = self.records.remove(id) {
                self.connections.removed(&record.owned.rule);
            }
            self.gone.insert(*id);
        }
        self.forget_gone();
    }

    /// All in one batch, from a fresh listing each time.
    fn remove_whole(&mut self, ids: &BTreeSet<RuleId>, report: &mut Report) -> Result<(), Stuck> {
        let mut tried: Vec<ObservedRule> = Vec::new();
        for attempt in 1.. {
            let present = self.copies_of(ids).map_err(Stuck::Hopeless)?;
            if attempt == 1 {
                self.log_already_gone(ids, &present);
            }
            // An earlier batch that reported failure may have removed some after all.
            let found: BTreeSet<RuleId> = present.iter().map(|r| r.id).collect();
            tried.retain(|rule| !found.contains(&rule.id));
            self.log_removed(&tried);
            report.removed += tried.len();
            if present.is_empty() {
                return Ok(());
            }
            let batch = Batch {
                remove: present,
                insert: Vec::new(),
            };
            match self.backend.commit(&batch) {
                Ok(()) => {
                    report.removed += batch.remove.len();
                    self.log_removed(&batch.remove);
                    return Ok(());
                }
                Err(error) if is_hopeless(&error) => return Err(Stuck::Hopeless(error)),
                Err(error) if attempt >= BATCH_TRIES => {
                    return Err(match blames_no_rule(&error) {
                        true => Stuck::Hopeless(error),
                        false => Stuck::TryParts(error),
                    });
                }
                Err(error) => {
                    warn!(self.log, "removal failed, listing again"; "reason" => %error);
                }
            }
            tried = batch.remove;
        }
        Ok(())
    }

    /// Half of them at a time, and of what fails half again; returns those that are still there.
    fn remove_parts(
        &mut self,
        ids: &BTreeSet<RuleId>,
        report: &mut Report,
    ) -> Result<BTreeSet<RuleId>, BackendError> {
        let all: Vec<RuleId> = ids.iter().copied().collect();
        self.remove_halves(&all, report)?;
        Ok(self.copies_of(ids)?.into_iter().map(|r| r.id).collect())
    }

    fn remove_halves(&mut self, ids: &[RuleId], report: &mut Report) -> Result<(), BackendError> {
        let (first, second) = ids.split_at(ids.len() / 2);
        for half in [first, second].into_iter().filter(|half| !half.is_empty()) {
            let copies = self.copies_of(&half.iter().copied().collect())?;
            // Of one rule each copy by itself: another one may go though this does not.
            let batches: Vec<Vec<ObservedRule>> = match half {
                [_] => copies.into_iter().map(|copy| vec![copy]).collect(),
                _ => vec![copies],
            };
            for remove in batches.into_iter().filter(|copies| !copies.is_empty()) {
                let batch = Batch {
                    remove,
                    insert: Vec::new(),
                };
                match self.backend.commit(&batch) {
                    Ok(()) => {
                        report.removed += batch.remove.len();
                        self.log_removed(&batch.remove);
                    }
                    Err(error) if blames_no_rule(&error) => return Err(error),
                    Err(_) if half.len() > 1 => self.remove_halves(half, report)?,
                    Err(error) => warn!(self.log, "removal failed"; "reason" => %error),
                }
            }
        }
        Ok(())
    }

    /// Every copy of the given rules that the kernel shows.
    pub(super) fn copies_of(
        &mut self,
        ids: &BTreeSet<RuleId>,
    ) -> Result<Vec<ObservedRule>, BackendError> {
        let mut observed = self.list()?;
        observed.retain(|rule| ids.contains(&rule.id));
        Ok(observed)
    }

    pub(super) fn log_removed(&self, removed: &[ObservedRule]) {
        for rule in removed.iter().filter_map(|r| r.rule.as_ref()) {
            self.log_change(Verb::Del, rule);
        }
    }

    /// Somebody else has removed them: there may be more that is not as believed.
    fn log_already_gone(&mut self, ids: &BTreeSet<RuleId>, present: &[ObservedRule]) {
        let found: BTreeSet<RuleId> = present.iter().map(|r| r.id).collect();
        for id in ids.difference(&found) {
            warn!(self.log, "rule was already gone from the kernel"; "rule" => %id);
            self.kernel.suspect();
        }
    }
}

/// Why a batch did not go through.
enum Stuck {
    /// Trying again now is pointless.
    Hopeless(BackendError),
    /// One rule may be the cause: try parts.
    TryParts(BackendError),
}

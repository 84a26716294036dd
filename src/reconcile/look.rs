//! Looking: the kernel's listing decides what is applied.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use slog::{info, warn};

use super::report::{Report, Trouble};
use super::{BATCH_TRIES, Reconciler, blames_no_rule};
use crate::backend::{Backend, BackendError, Batch, ErrorKind, ObservedRule};
use crate::journal::Journal;
use crate::journal::record::{Record, State};
use crate::model::boot::BootId;
use crate::model::rule::{BackendKind, OwnedRule, Rule, RuleId};

impl<J: Journal> Reconciler<J> {
    /// Lists the kernel and makes `records` agree with it: unknown rules of ours are adopted,
    /// recorded ones that are not there any more are dropped, surplus and altered copies are
    /// removed.
    ///
    /// # Errors
    /// The listing failed or is uncertain; then nothing was changed and all stays in doubt.
    pub(super) fn look(&mut self, now: u64, report: &mut Report) -> Result<(), Trouble> {
        self.listed = None;
        let observed = self.backend.list().map_err(Trouble::Listing)?;
        let seen = Seen::sort(observed.clone());
        self.listed = Some(observed);
        self.drop_lost(&seen, report);
        self.adopt(&seen, now);
        self.in_doubt = false;
        self.look_again = false;
        // What the journal may not know is not inserted again.
        if !seen.misplaced.is_empty() && !self.journal_behind {
            self.listed = None;
            self.put_right(seen.misplaced, report);
        }
        if !seen.surplus.is_empty() {
            self.listed = None;
            self.remove_surplus(seen.surplus, report);
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
                self.look_again = true;
                report.troubles.push(Trouble::Insertion { count, last });
            }
        }
    }

    fn drop_lost(&mut self, seen: &Seen, report: &mut Report) {
        let here = self.backend.kind();
        let lost: Vec<RuleId> = self
            .records
            .iter()
            .filter(|(id, r)| r.owned.rule.backend == here && !seen.genuine.contains_key(id))
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
                self.stale.removed(&record.owned.rule);
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

    fn adopt(&mut self, seen: &Seen, now: u64) {
        let mut adopted = Vec::new();
        let mut confirmed = Vec::new();
        for (id, rule) in &seen.genuine {
            match self.records.get_mut(id) {
                Some(record) if record.state == State::Applied => {}
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
                self.look_again = true;
                report.troubles.push(Trouble::Removal { count, last });
                return;
            }
            Err(_) => {}
        }
        // One of them may be the cause, and must not keep the others in. Others may have gone, and
        // what is listed like them then is the copy that stays.
        let left = match self.backend.list() {
            Ok(observed) => Seen::sort(observed).surplus,
            Err(last) => {
                self.look_again = true;
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
            self.look_again = true;
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
        self.listed = None;
        let gone: Vec<RuleId> = self.gone.iter().copied().collect();
        match self.journal.forget(&gone) {
            Ok(()) => self.gone.clear(),
            Err(error) => self.note(Err(error)),
        }
    }

    /// Empties the backends that are not in use any more, and drops each once it is empty.
    pub(super) fn sweep_others(&mut self, report: &mut Report) {
        let here = self.backend.kind();
        let mut waiting: VecDeque<_> = std::mem::take(&mut self.others).into();
        while let Some(mut other) = waiting.pop_front() {
            let kind = other.kind();
            let ours = self
                .records
                .values()
                .filter(|r| kind != here && r.owned.rule.backend == kind);
            let held_some = ours
                .into_iter()
                .any(|record| !self.is_of_earlier_boot(record));
            match empty(other.as_mut(), held_some) {
                Ok(removed) => {
                    if removed > 0 {
                        info!(self.log, "removed rules of ours that another tool had inserted";
                            "count" => removed, "backend" => %other.kind());
                        report.removed += removed;
                    }
                    let mut left = waiting.iter().chain(&self.others);
                    // Its records may be those of rules in its other variant.
                    if kind != here && left.all(|more| more.kind() != kind) {
                        let elsewhere: Vec<RuleId> = self
                            .records
                            .iter()
                            .filter(|(_, r)| r.owned.rule.backend == kind)
                            .map(|(id, _)| *id)
                            .collect();
                        for id in elsewhere {
                            self.records.remove(&id);
                            self.gone.insert(id);
                        }
                        self.forget_gone();
                    }
                }
                Err(last) if self.is_no_sign(other.kind(), last.kind) => {
                    warn!(self.log, "it cannot be told whether an earlier run left rules there";
                        "backend" => %other.kind(), "reason" => %last);
                }
                Err(last) => {
                    let backend = other.kind();
                    report.troubles.push(Trouble::Elsewhere { backend, last });
                    self.others.push(other);
                }
            }
        }
        self.miss_others(report);
    }

    /// Removes these from the backends that are not in use any more, where they are there. Their
    /// records stay for [`Self::sweep_others`], which also tells what cannot be removed.
    pub(super) fn take_out_elsewhere(&mut self, ids: &BTreeSet<RuleId>, report: &mut Report) {
        if ids.is_empty() {
            return;
        }
        for other in &mut self.others {
            let mut remove = other.list().unwrap_or_default();
            remove.retain(|seen| ids.contains(&seen.id));
            let (count, backend) = (remove.len(), other.kind());
            if count == 0 {
                continue;
            }
            let insert = Vec::new();
            match other.commit(&Batch { remove, insert }) {
                Ok(()) => {
                    info!(self.log, "removed forwards of an earlier boot"; "count" => count,
                        "backend" => %backend);
                    report.removed += count;
                }
                Err(last) => report.troubles.push(Trouble::Elsewhere { backend, last }),
            }
        }
    }

    /// What is recorded of a backend that is not there to be looked at may still stand. Not after
    /// a boot: what puts such rules back is the tool that is missing.
    fn miss_others(&mut self, report: &mut Report) {
        let here = self.backend.kind();
        let unseen = |kind| kind != here && self.others.iter().all(|other| other.kind() != kind);
        let missed: Vec<(RuleId, BackendKind, bool)> = self
            .records
            .iter()
            .filter(|(_, r)| unseen(r.owned.rule.backend))
            .map(|(id, r)| (*id, r.owned.rule.backend, self.is_of_earlier_boot(r)))
            .collect();
        let mut left: BTreeMap<BackendKind, usize> = BTreeMap::new();
        for (id, kind, is_earlier) in missed {
            if is_earlier {
                self.records.remove(&id);
                self.gone.insert(id);
            } else {
                *left.entry(kind).or_default() += 1;
            }
        }
        self.forget_gone();
        for (backend, count) in left {
            let last = BackendError {
                operation: format!("search for {count} recorded rules"),
                kind: ErrorKind::Unsupported,
                detail: format!("nothing here can list or remove them: install {backend}"),
            };
            report.troubles.push(Trouble::Elsewhere { backend, last });
        }
    }

    /// The record was written before the machine was booted.
    pub(super) fn is_of_earlier_boot(&self, record: &Record) -> bool {
        !record.boot_id.as_str().is_empty() && record.boot_id != self.boot_id
    }

    /// Whether a backend that cannot be listed is no reason to think that we were ever there. A
    /// table that others use in their own way tells nothing, maybe for ever; and where we may
    /// not even look we have inserted nothing, unless we had more privileges before.
    fn is_no_sign(&self, kind: BackendKind, failure: ErrorKind) -> bool {
        match failure {
            ErrorKind::Uncertain => !self.knows_of(kind),
            ErrorKind::Denied => kind == self.backend.kind() || !self.knows_of(kind),
            _ => false,
        }
    }

    /// Whether the backend is in use, or was in one of the runs that left records.
    fn knows_of(&self, kind: BackendKind) -> bool {
        let mut kinds = self.records.values().map(|r| r.owned.rule.backend);
        kind == self.backend.kind() || kinds.any(|recorded| recorded == kind)
    }
}

/// Removes every rule of ours from a backend; returns how many there were. `held_some`: it is known
/// to have held rules of ours since the last boot.
fn empty(backend: &mut dyn Backend, held_some: bool) -> Result<usize, BackendError> {
    let mut tries = 0;
    loop {
        let remove = match backend.list() {
            // What the kernel cannot hold is not there; but what it has held it can hold.
            Err(error) if error.kind == ErrorKind::Unsupported && !held_some => return Ok(0),
            listed => listed?,
        };
        let count = remove.len();
        if count == 0 {
            return Ok(0);
        }
        tries += 1;
        match backend.commit(&Batch {
            remove,
            insert: Vec::new(),
        }) {
            Ok(()) => return Ok(count),
            Err(error) if tries >= BATCH_TRIES => return Err(error),
            Err(_) => {}
        }
    }
}

/// A listing, sorted out.
pub(super) struct Seen {
    /// The first copy of each rule whose content is what its identity says.
    pub(super) genuine: BTreeMap<RuleId, Rule>,
    /// Of those, the ones that stand in the wrong place.
    pub(super) misplaced: Vec<ObservedRule>,
    /// Further copies, and rules with our comment but another content.
    pub(super) surplus: Vec<ObservedRule>,
}

impl Seen {
    pub(super) fn sort(observed: Vec<ObservedRule>) -> Self {
        let mut seen = Self {
            genuine: BTreeMap::new(),
            misplaced: Vec::new(),
            surplus: Vec::new(),
        };
        // A copy that stands in its place is the one that stays.
        let (misplaced, placed): (Vec<_>, Vec<_>) =
            observed.into_iter().partition(|seen| seen.is_misplaced);
        for rule in placed.into_iter().chain(misplaced) {
            match &rule.rule {
                Some(content) if !seen.genuine.contains_key(&rule.id) => {
                    seen.genuine.insert(rule.id, content.clone());
                    if rule.is_misplaced {
                        seen.misplaced.push(rule);
                    }
                }
                _ => seen.surplus.push(rule),
            }
        }
        seen
    }
}

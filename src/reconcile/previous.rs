//! Backends that are not in use any more, where an earlier run may have left rules.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use slog::{info, warn};

use super::report::{Report, Trouble};
use super::{BATCH_TRIES, Reconciler};
use crate::backend::{Backend, BackendError, Batch, ErrorKind};
use crate::journal::Journal;
use crate::model::rule::{BackendKind, RuleId};

impl<J: Journal> Reconciler<J> {
    /// Empties the backends that are not in use any more, and drops each once it is empty.
    pub(super) fn remove_from_previous(&mut self, report: &mut Report) {
        let here = self.backend.kind();
        let mut waiting: VecDeque<_> = std::mem::take(&mut self.previous).into();
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
                    let mut left = waiting.iter().chain(&self.previous);
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
                Err(last) if self.proves_nothing(other.kind(), last.kind) => {
                    warn!(self.log, "cannot find out whether an earlier run left rules there";
                        "backend" => %other.kind(), "reason" => %last);
                }
                Err(last) => {
                    let backend = other.kind();
                    report.troubles.push(Trouble::Elsewhere { backend, last });
                    self.previous.push(other);
                }
            }
        }
        self.report_unlisted(report);
    }

    /// Removes these from the backends that are not in use any more, where they are there. Their
    /// records stay for [`Self::remove_from_previous`], which also tells what cannot be removed.
    pub(super) fn remove_earlier_boot_from_previous(
        &mut self,
        ids: &BTreeSet<RuleId>,
        report: &mut Report,
    ) {
        if ids.is_empty() {
            return;
        }
        for other in &mut self.previous {
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
    fn report_unlisted(&mut self, report: &mut Report) {
        let here = self.backend.kind();
        let unseen = |kind| kind != here && self.previous.iter().all(|other| other.kind() != kind);
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

    /// Whether a backend that cannot be listed is no reason to think that we were ever there. A
    /// table that others use in their own way tells nothing, maybe for ever; and where we may
    /// not even look we have inserted nothing, unless we had more privileges before.
    fn proves_nothing(&self, kind: BackendKind, failure: ErrorKind) -> bool {
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

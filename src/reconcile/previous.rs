//! Backends that are not in use any more, where an earlier run may have left rules.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use slog::{info, warn};

use super::Reconciler;
use super::apply::{Applier, BATCH_TRIES, Edit};
use super::report::{Report, Trouble};
use crate::backend::{Backend, BackendError, ErrorKind, ObservedRule};
use crate::journal::Journal;
use crate::journal::record::Record;
use crate::model::rule::{BackendKind, Rule, RuleId};

/// Which of the rules there go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Share {
    /// All of ours.
    All,
    /// All but the static ones.
    Forwards,
}

impl Share {
    /// One whose content nobody knows is a forward for all we know.
    fn has(self, seen: &ObservedRule) -> bool {
        self == Self::All || !seen.content().is_some_and(Rule::is_static)
    }
}

impl<J: Journal> Reconciler<J> {
    /// Empties the backends that are not in use any more, and drops each once it is empty.
    pub(super) fn empty_previous(&mut self, report: &mut Report) {
        self.remove_from_previous(Share::All, report);
    }

    /// Removes their forwards: Docker is silent, so that nobody has confirmed them, and which static rules
    /// there are to be is not known yet.
    pub(super) fn remove_forwards_from_previous(&mut self, report: &mut Report) {
        self.remove_from_previous(Share::Forwards, report);
    }

    fn remove_from_previous(&mut self, share: Share, report: &mut Report) {
        let here = self.backend.kind();
        let mut waiting: VecDeque<_> = std::mem::take(&mut self.previous).into();
        while let Some(mut other) = waiting.pop_front() {
            let kind = other.kind();
            let mut records = self.records.values().filter(|r| is_of(r, kind));
            let held_some = kind != here && records.any(|r| !self.is_of_earlier_boot(r));
            let listed = match other.list() {
                // What the kernel cannot hold is not there; but what it has held it can hold.
                Err(error) if error.kind == ErrorKind::Unsupported && !held_some => Ok(Vec::new()),
                listed => listed,
            };
            let mut going = Vec::new();
            let removed = listed.and_then(|mut listed| {
                listed.retain(|seen| share.has(seen));
                going.extend(listed.iter().map(|seen| seen.id));
                remove_listed(other.as_mut(), listed, report)
            });
            match removed {
                Ok(removed) => {
                    if removed > 0 {
                        info!(self.log, "removed rules of ours from a backend that is not in use";
                            "count" => removed, "backend" => %kind);
                    }
                    let mut left = waiting.iter().chain(&self.previous);
                    // Its records may be those of rules in its other variant.
                    let are_gone = kind != here && left.all(|more| more.kind() != kind);
                    if share == Share::Forwards {
                        if are_gone {
                            going.retain(|id| self.records.contains_key(id));
                            self.forget(&going);
                        }
                        self.previous.push(other);
                    } else if are_gone {
                        let records = self.records.iter().filter(|(_, r)| is_of(r, kind));
                        let gone: Vec<RuleId> = records.map(|(id, _)| *id).collect();
                        self.forget(&gone);
                    }
                }
                Err(last) if self.proves_nothing(kind, last.kind) => {
                    warn!(self.log, "cannot find out whether an earlier run left rules there";
                        "backend" => %kind, "reason" => %last);
                }
                Err(last) => {
                    let backend = kind;
                    report.troubles.push(Trouble::Elsewhere { backend, last });
                    self.previous.push(other);
                }
            }
        }
        self.report_unlisted(report);
    }

    /// Removes these rules from the backends that are not in use any more. Their records stay for
    /// [`Self::empty_previous`], which also reports what cannot be listed or removed.
    pub(super) fn remove_earlier_boot_from_previous(
        &mut self,
        ids: &BTreeSet<RuleId>,
        report: &mut Report,
    ) {
        if ids.is_empty() {
            return;
        }
        for other in &mut self.previous {
            let mut listed = other.list().unwrap_or_default();
            listed.retain(|seen| ids.contains(&seen.id));
            let backend = other.kind();
            match remove_listed(other.as_mut(), listed, report) {
                Ok(0) => {}
                Ok(count) => {
                    info!(self.log, "removed forwards of an earlier boot"; "count" => count,
                        "backend" => %backend);
                }
                Err(last) => report.troubles.push(Trouble::Elsewhere { backend, last }),
            }
        }
    }

    /// Reports the recorded rules of a backend that is missing here, so that it cannot be listed:
    /// they may still be in the kernel. Those of an earlier boot are not: only the missing tool
    /// could have restored them.
    fn report_unlisted(&mut self, report: &mut Report) {
        let here = self.backend.kind();
        if !self.records.has_others_than(here) {
            return;
        }
        let is_unlisted = |record: &&Record| {
            let kind = record.owned.rule.backend;
            kind != here && self.previous.iter().all(|other| other.kind() != kind)
        };
        let unlisted = self.records.values().filter(is_unlisted);
        let (earlier, missed): (Vec<&Record>, Vec<&Record>) =
            unlisted.partition(|record| self.is_of_earlier_boot(record));
        let mut left: BTreeMap<BackendKind, usize> = BTreeMap::new();
        for record in missed {
            *left.entry(record.owned.rule.backend).or_default() += 1;
        }
        let earlier: Vec<RuleId> = earlier.into_iter().map(Record::id).collect();
        self.forget(&earlier);
        for (backend, count) in left {
            let last = BackendError {
                operation: format!("search for {count} recorded rules"),
                kind: ErrorKind::Unsupported,
                detail: format!("nothing here can list or remove them: install {backend}"),
            };
            report.troubles.push(Trouble::Elsewhere { backend, last });
        }
    }

    /// Whether a backend that cannot be listed gives no reason to believe that a run of ours used it.
    /// A table that others use in their own way may never become readable; and where we lack the
    /// privilege to list we have inserted nothing, unless we had more privileges before.
    fn proves_nothing(&self, kind: BackendKind, failure: ErrorKind) -> bool {
        match failure {
            ErrorKind::Uncertain => !self.knows_of(kind),
            ErrorKind::Denied => kind == self.backend.kind() || !self.knows_of(kind),
            _ => false,
        }
    }

    /// Whether the backend is in use, or was in one of the runs that left records.
    fn knows_of(&self, kind: BackendKind) -> bool {
        kind == self.backend.kind() || self.records.values().any(|r| is_of(r, kind))
    }
}

fn is_of(record: &Record, kind: BackendKind) -> bool {
    record.owned.rule.backend == kind
}

/// Removes the rules of a listing, with every fallback; returns how many.
fn remove_listed(
    backend: &mut dyn Backend,
    listed: Vec<ObservedRule>,
    report: &mut Report,
) -> Result<usize, BackendError> {
    let before = report.removed;
    let ids: BTreeSet<RuleId> = listed.iter().map(|seen| seen.id).collect();
    let edits: Vec<Edit<'_>> = ids.into_iter().map(Edit::removal).collect();
    let mut applier = Applier::silent(backend, report);
    applier.listing = Some(listed);
    let applied = applier.apply(&edits, BATCH_TRIES);
    applied.map_err(|incomplete| incomplete.last)?;
    Ok(report.removed - before)
}

//! Applies edits of the kernel's rules, with every fallback: insertions, replacements and removals,
//! in the backend in use and in those of earlier runs.
//!
//! ```text
//!   all in one batch, from a fresh listing ◀──┐
//!     │          │ failed                     │ up to `tries` times
//!     │          └────────────────────────────┘
//!     │ failed again, and one rule may be the cause
//!     ▼
//!   one half, then the other ──failed──▶ its halves … ──failed──▶ one edit: refused
//! ```
//!
//! Each try begins with a listing, which shows what earlier ones have done although they reported a
//! failure. A failure that no single rule can have caused ends it all: [`Incomplete::is_known`] is
//! then `false`.

use std::collections::BTreeSet;
use std::time::Instant;

use slog::{Logger, o, warn};

use super::change_log::ChangeLog;
use super::listing::Listing;
use super::report::{Operation, Report};
use crate::backend::{Backend, BackendError, Batch, ErrorKind, ObservedRule, Verb};
use crate::model::rule::{Name, Rule, RuleId};

/// How often a whole batch is tried before its parts are: a foreign change voids a batch.
pub(super) const BATCH_TRIES: usize = 3;

/// One edit: a removal, an insertion, or both as a replacement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edit<'r> {
    /// The rule that goes, with all its copies.
    pub(super) old: Option<RuleId>,
    /// The rule that comes.
    pub(super) new: Option<&'r Rule>,
}

impl Edit<'_> {
    pub(super) fn removal(old: RuleId) -> Self {
        let old = Some(old);
        Self { old, new: None }
    }

    /// The kind of the rule that comes.
    fn inserted_kind(&self) -> Option<Name> {
        self.new.map(|rule| rule.facts.kind.clone())
    }
}

/// Some edits were not made, or may not have been.
pub(super) struct Incomplete {
    /// How many.
    pub(super) count: usize,
    /// The rules that the edits which failed last, or by themselves, were to remove.
    pub(super) refused_olds: BTreeSet<RuleId>,
    /// The last failure.
    pub(super) last: BackendError,
    /// Whether each of them was refused by itself; `false`: the rest was not tried.
    pub(super) is_known: bool,
}

/// Which copies of a rule a removal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copies {
    All,
    /// All but the one that stays.
    Surplus,
}

/// Makes edits through one backend.
pub(super) struct Applier<'a> {
    backend: &'a mut dyn Backend,
    log: Logger,
    /// `None`: the caller sums up.
    change_log: Option<ChangeLog<'a>>,
    report: &'a mut Report,
    pub(super) copies: Copies,
    /// A fresh listing, for the first try.
    pub(super) listing: Option<Vec<ObservedRule>>,
    /// Whether a rule to be removed was gone before.
    pub(super) missed_some: bool,
    /// What failed batches may have done all the same.
    in_doubt: Batch,
    /// How many edits were made.
    made: usize,
    refused_olds: BTreeSet<RuleId>,
    /// The kinds of the rules that were refused by themselves; of a removal, none.
    refused: Vec<Option<Name>>,
    /// The last refusal.
    refusal: Option<BackendError>,
}

impl<'a> Applier<'a> {
    /// Each rule that it removes or inserts is counted in `report` and logged.
    pub(super) fn new(
        backend: &'a mut dyn Backend,
        log: ChangeLog<'a>,
        report: &'a mut Report,
    ) -> Self {
        Self {
            log: log.log.clone(),
            change_log: Some(log),
            ..Self::silent(backend, report)
        }
    }

    /// The same without the log, for a caller that sums up.
    pub(super) fn silent(backend: &'a mut dyn Backend, report: &'a mut Report) -> Self {
        Self {
            backend,
            log: Logger::root(slog::Discard, o!()),
            change_log: None,
            report,
            copies: Copies::All,
            listing: None,
            missed_some: false,
            in_doubt: Batch::default(),
            made: 0,
            refused_olds: BTreeSet::new(),
            refused: Vec::new(),
            refusal: None,
        }
    }

    /// Makes the edits, in their order. The whole batch is tried up to `tries` times.
    pub(super) fn apply(&mut self, edits: &[Edit<'_>], tries: usize) -> Result<(), Incomplete> {
        let outcome = self.apply_whole(edits, tries);
        let is_known = outcome.is_ok();
        let Some(last) = outcome.err().or_else(|| self.refusal.take()) else {
            return Ok(());
        };
        // The edits are made in their order, so that those behind were not tried.
        let untried = edits.get(self.made + self.refused.len()..);
        let untried = untried.unwrap_or_default().iter().map(Edit::inserted_kind);
        let refused = std::mem::take(&mut self.refused).into_iter();
        for kind in refused.chain(untried).flatten() {
            self.report.count(Operation::Insert, kind, false);
        }
        Err(Incomplete {
            count: edits.len() - self.made,
            refused_olds: std::mem::take(&mut self.refused_olds),
            last,
            is_known,
        })
    }

    /// `Err`: the rest is not worth a try now.
    fn apply_whole(&mut self, edits: &[Edit<'_>], tries: usize) -> Result<(), BackendError> {
        for attempt in 1..=tries {
            // Always from a fresh listing: a tool that cannot read the table may still write to it,
            // and what it inserts then could not be found again.
            let batch = self.outstanding(edits)?;
            if attempt == 1 {
                self.log_missing(edits, &batch);
            }
            match self.commit(batch) {
                Ok(()) => {
                    self.made += edits.len();
                    return Ok(());
                }
                Err(error) if is_hopeless(&error) => return Err(error),
                Err(error) if attempt == tries && blames_no_rule(&error) => return Err(error),
                Err(_) if attempt == tries => {}
                Err(error) => {
                    let what = ["insertion", "removal"][usize::from(is_removal(edits))];
                    warn!(self.log, "{what} failed, listing again"; "reason" => %error);
                }
            }
        }
        self.apply_halves(edits)
    }

    /// Half of them at a time, and of what fails half again: a rule that the kernel refuses must not
    /// keep the others out or in, and each try takes a listing.
    fn apply_halves(&mut self, edits: &[Edit<'_>]) -> Result<(), BackendError> {
        let (first, second) = edits.split_at(edits.len() / 2);
        for half in [first, second].into_iter().filter(|half| !half.is_empty()) {
            let batch = self.outstanding(half)?;
            let batches: Vec<Batch> = match half {
                // Of one rule each copy by itself: another one may go though this does not.
                [_] if is_removal(half) => {
                    let copies = batch.remove.into_iter();
                    copies.map(|copy| removal_of(vec![copy])).collect()
                }
                _ => vec![batch],
            };
            let mut outcome = Ok(());
            for batch in batches {
                let Err(error) = self.commit(batch) else {
                    continue;
                };
                if blames_no_rule(&error) {
                    self.refused_olds
                        .extend(half.iter().filter_map(|edit| edit.old));
                    return Err(error);
                }
                if half.len() == 1 && is_removal(half) {
                    warn!(self.log, "removal failed"; "reason" => %error);
                }
                outcome = Err(error);
            }
            match outcome {
                Ok(()) => self.made += half.len(),
                Err(_) if half.len() > 1 => self.apply_halves(half)?,
                Err(error) => {
                    self.refused_olds
                        .extend(half.iter().filter_map(|edit| edit.old));
                    self.refused.extend(half.iter().map(Edit::inserted_kind));
                    self.refusal = Some(error);
                }
            }
        }
        Ok(())
    }

    /// Commits a batch. It is logged and counted once it is known to be made.
    pub(super) fn commit(&mut self, batch: Batch) -> Result<(), BackendError> {
        if batch.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let outcome = self.backend.commit(&batch);
        let operation = match (batch.remove.is_empty(), batch.insert.is_empty()) {
            (true, _) => Operation::Insert,
            (_, true) => Operation::Remove,
            _ => Operation::Replace,
        };
        self.report.batches.push((operation, began.elapsed()));
        if let Err(error) = outcome {
            self.in_doubt.remove.extend(batch.remove);
            self.in_doubt.insert.extend(batch.insert);
            return Err(error);
        }
        self.count(&batch);
        Ok(())
    }

    /// The part of these edits that a fresh listing shows to be missing. If the listing shows that a
    /// batch which failed has done its work all the same, that is logged as done.
    fn outstanding(&mut self, edits: &[Edit<'_>]) -> Result<Batch, BackendError> {
        let olds: BTreeSet<RuleId> = edits.iter().filter_map(|edit| edit.old).collect();
        let mut listed = match self.listing.take() {
            Some(listed) => listed,
            None if self.copies == Copies::Surplus => self.backend.list()?,
            None => self.backend.list_of(&self.concerned(edits, &olds))?,
        };
        if self.copies == Copies::Surplus {
            listed = Listing::sort(listed).surplus;
        }
        self.settle_doubt(&listed);
        let is_old = |seen: &ObservedRule| olds.contains(&seen.id);
        let (remove, rest): (Vec<_>, Vec<_>) = listed.into_iter().partition(is_old);
        let mut batch = removal_of(remove);
        if !is_removal(edits) {
            let present = Listing::sort(rest).genuine;
            let news = edits.iter().filter_map(|edit| edit.new);
            let missing = news.filter(|rule| !present.contains_key(&rule.id()));
            batch.insert = missing.cloned().collect();
        }
        Ok(batch)
    }

    /// The rules that a listing must show, if it has them.
    fn concerned(&self, edits: &[Edit<'_>], olds: &BTreeSet<RuleId>) -> BTreeSet<RuleId> {
        let in_doubt = &self.in_doubt;
        let news = edits.iter().filter_map(|edit| edit.new);
        let news = news.chain(&in_doubt.insert).map(|rule| rule.id());
        let olds = olds.iter().copied();
        let in_doubt = in_doubt.remove.iter().map(|seen| seen.id);
        olds.chain(news).chain(in_doubt).collect()
    }

    /// Which of the rules that were to be removed a fresh listing still shows.
    pub(super) fn left(&mut self, edits: &[Edit<'_>]) -> Result<BTreeSet<RuleId>, BackendError> {
        let left = self.outstanding(edits)?.remove;
        Ok(left.iter().map(|seen| seen.id).collect())
    }

    fn settle_doubt(&mut self, listed: &[ObservedRule]) {
        if self.in_doubt.is_empty() {
            return;
        }
        let genuine = listed.iter().filter(|seen| seen.rule.is_some());
        let present: BTreeSet<RuleId> = genuine.map(|seen| seen.id).collect();
        let listed: BTreeSet<RuleId> = listed.iter().map(|seen| seen.id).collect();
        let mut done = std::mem::take(&mut self.in_doubt);
        done.remove.retain(|seen| !listed.contains(&seen.id));
        done.insert.retain(|rule| present.contains(&rule.id()));
        self.count(&done);
    }

    fn count(&mut self, done: &Batch) {
        self.report.removed += done.remove.len();
        self.report.inserted += done.insert.len();
        for seen in &done.remove {
            let kind = seen.content().map(|rule| rule.facts.kind.clone());
            let kind = kind.unwrap_or_default();
            self.report.count(Operation::Remove, kind, true);
        }
        for rule in &done.insert {
            let kind = rule.facts.kind.clone();
            self.report.count(Operation::Insert, kind, true);
        }
        let Some(log) = &self.change_log else {
            return;
        };
        let removed = done.remove.iter().filter_map(|seen| seen.rule.as_ref());
        let removed: Vec<&Rule> = removed.collect();
        log.log(Verb::Del, &removed, |rule| {
            self.backend.describe(Verb::Del, rule)
        });
        let inserted: Vec<&Rule> = done.insert.iter().collect();
        log.log(Verb::Add, &inserted, |rule| {
            self.backend.describe(Verb::Add, rule)
        });
    }

    /// Warns of rules that another program has removed first: other rules may have changed, too.
    fn log_missing(&mut self, edits: &[Edit<'_>], batch: &Batch) {
        let found: BTreeSet<RuleId> = batch.remove.iter().map(|seen| seen.id).collect();
        let removals = edits.iter().filter(|edit| edit.new.is_none());
        for id in removals
            .filter_map(|edit| edit.old)
            .filter(|id| !found.contains(id))
        {
            warn!(self.log, "rule was already gone from the kernel"; "rule" => %id);
            self.missed_some = true;
        }
    }
}

/// Whether nothing is inserted.
fn is_removal(edits: &[Edit<'_>]) -> bool {
    edits.iter().all(|edit| edit.new.is_none())
}

fn removal_of(remove: Vec<ObservedRule>) -> Batch {
    let insert = Vec::new();
    Batch { remove, insert }
}

/// Whether trying again at once is pointless.
fn is_hopeless(error: &BackendError) -> bool {
    match error.kind {
        ErrorKind::Denied | ErrorKind::Unsupported | ErrorKind::TimedOut | ErrorKind::Uncertain => {
            true
        }
        ErrorKind::NotFound | ErrorKind::Exists | ErrorKind::Busy | ErrorKind::Failed => false,
    }
}

/// Whether no single rule can be the cause, so that trying each by itself is pointless too. A tool
/// that waits for a lock has waited for seconds, and would do so for every rule.
fn blames_no_rule(error: &BackendError) -> bool {
    is_hopeless(error) || error.kind == ErrorKind::Busy
}

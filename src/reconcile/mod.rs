//! Makes the kernel match what is desired, with the journal ahead of every insertion.
//!
//! [`Reconciler`] owns the backend and the list of applied rules; it is the only code that
//! changes the kernel. It is synchronous and runs in one thread, one call at a time. A crash
//! between any two of its steps leaves a journal in which every inserted rule stands, and a
//! kernel in which every rule of ours carries its comment; [`Reconciler::recover`] starts from
//! the union of both.
//!
//! ```text
//!            ┌────────── Kernel::Unknown ◀──── any failure of the backend
//!            ▼                                         │
//!   resync:  list ▸ compare with the records ▸ repair  │
//!            ▼                                         │
//!   remove:  list ▸ remove ▸ forget ───────────────────┤     removals never wait for the disk
//!            ▼                                         │
//!   insert:  intend (fsync) ▸ insert/replace ▸ commit ─┘     no intent, no insertion
//!            ▼
//!   connections: cut those that the rules as they are now would not have made
//! ```

mod connections;
mod insert;
mod listing;
mod previous;
mod remove;
pub mod report;
mod resync;
mod stale;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use slog::{Logger, info};

use self::connections::Connections;
use self::listing::Kernel;
pub use self::report::{Report, Trouble};
use crate::backend::{Backend, BackendError, ErrorKind, Verb, compile};
use crate::conntrack::Flows;
use crate::journal::record::Record;
use crate::journal::{Journal, JournalError};
use crate::model::boot::BootId;
use crate::model::change::{ChangeSet, Desired};
use crate::model::intent::Intent;
use crate::model::rule::{OwnedRule, Rule, RuleId};

/// How often a whole batch is tried before its parts are: a foreign change voids a batch.
const BATCH_TRIES: usize = 3;

/// See the module's documentation.
pub struct Reconciler<J> {
    backend: Box<dyn Backend>,
    /// Backends of earlier runs, where rules may be left; each is emptied once, then dropped.
    previous: Vec<Box<dyn Backend>>,
    journal: J,
    log: Logger,
    boot_id: BootId,
    /// Applied: every rule that is, or may be, in the kernel.
    records: BTreeMap<RuleId, Record>,
    /// Confirmed gone from the kernel, not yet from the journal.
    gone: BTreeSet<RuleId>,
    /// Gone from the kernel though nobody asked, and in the journal as they are here. Whoever is
    /// put back in this round needs no new intent; the rest is forgotten at its end.
    lost: BTreeMap<RuleId, Record>,
    kernel: Kernel,
    /// The journal lacks something that `records` or `gone` knows.
    journal_behind: bool,
    /// Whether the forwards of an earlier boot have been removed.
    boot_checked: bool,
    connections: Connections,
}

impl<J: Journal> Reconciler<J> {
    /// A reconciler that has not listed the kernel yet; call [`Reconciler::recover`] first.
    /// `previous` are backends that are not in use any more, but may hold rules of ours.
    pub fn new(
        backend: Box<dyn Backend>,
        previous: Vec<Box<dyn Backend>>,
        journal: J,
        flows: Box<dyn Flows>,
        boot_id: BootId,
        log: Logger,
    ) -> Self {
        Self {
            backend,
            previous,
            journal,
            log,
            boot_id,
            records: BTreeMap::new(),
            gone: BTreeSet::new(),
            lost: BTreeMap::new(),
            kernel: Kernel::Unknown,
            journal_behind: false,
            boot_checked: false,
            connections: Connections::new(flows),
        }
    }

    /// Starts from what an earlier run left: applied = `records` ∪ every rule of ours in the
    /// kernel. Of `salvaged`, which are no proof of anything, those count whose rules are in
    /// the kernel: they say whose they are. Forwards recorded in an earlier boot are removed
    /// at once, for their addresses may belong to anybody by now. `now` is in seconds since the
    /// epoch.
    pub fn recover(&mut self, records: Vec<Record>, salvaged: Vec<Record>, now: u64) -> Report {
        let mut report = Report::default();
        self.journal_behind = !salvaged.is_empty();
        let all = salvaged.into_iter().chain(records);
        self.records = all.map(|r| (r.id(), r)).collect();
        self.kernel = Kernel::Unknown;
        self.boot_checked = false;
        if let Err(trouble) = self.resync_since_boot(now, &mut report) {
            report.troubles.push(trouble);
            return report;
        }
        self.forget_lost();
        self.settle_journal(&mut report);
        self.cut_connections(&mut report);
        report
    }

    /// Lists the kernel; the first time that this succeeds, removes the forwards of an earlier boot.
    fn resync_since_boot(&mut self, now: u64, report: &mut Report) -> Result<(), Trouble> {
        self.resync(now, report)?;
        if self.boot_checked {
            return Ok(());
        }
        self.boot_checked = true;
        // What is not in the kernel after a crash or a reboot is recovery, not drift.
        report.drift = 0;
        let here = self.backend.kind();
        let (earlier_boot, elsewhere): (Vec<&Record>, Vec<&Record>) = self
            .records
            .values()
            .filter(|r| !r.owned.rule.is_static() && self.is_of_earlier_boot(r))
            .partition(|r| r.owned.rule.backend == here);
        let ids = |records: Vec<&Record>| records.into_iter().map(Record::id).collect();
        let (earlier_boot, elsewhere): (BTreeSet<RuleId>, BTreeSet<RuleId>) =
            (ids(earlier_boot), ids(elsewhere));
        if !earlier_boot.is_empty() {
            info!(self.log, "removing the forwards of an earlier boot"; "count" => earlier_boot.len());
            self.remove(&earlier_boot, report);
        }
        self.remove_earlier_boot_from_previous(&elsewhere, report);
        Ok(())
    }

    /// What the intent comes to with the backend in use.
    pub fn compile(&self, intent: &Intent) -> Desired {
        compile::desired(self.backend.kind(), intent)
    }

    /// The next round lists the kernel first, whatever is believed of it.
    pub fn invalidate(&mut self) {
        self.kernel = Kernel::Unknown;
    }

    /// Takes the kernel from applied to `desired`, as far as it can be done now.
    pub fn converge(&mut self, desired: &Desired, now: u64) -> Report {
        self.converge_to(|| Cow::Borrowed(desired), now)
    }

    /// The same where `desired` depends on what others have put into the kernel a moment ago: it is
    /// called once the kernel is listed, which takes a while, and just before the first change.
    pub fn converge_to<'d>(
        &mut self,
        desired: impl FnOnce() -> Cow<'d, Desired>,
        now: u64,
    ) -> Report {
        let mut report = Report::default();
        if self.kernel.needs_listing()
            && let Err(trouble) = self.resync_since_boot(now, &mut report)
        {
            report.troubles.push(trouble);
            return report;
        }
        let desired = desired();
        let change = ChangeSet::between(&desired, &self.applied());
        let leaving: BTreeSet<RuleId> = change.remove.iter().copied().collect();
        self.remove(&leaving, &mut report);
        let arrives = !change.insert.is_empty() || !change.replace.is_empty();
        if !self.kernel.is_unknown() {
            self.settle_journal(&mut report);
            if arrives {
                self.insert(&change, now, &mut report);
            }
            self.reown(&change.reown, &mut report);
        }
        self.kernel.age();
        self.forget_lost();
        if desired.is_complete() {
            self.remove_from_previous(&mut report);
        }
        self.settle_journal(&mut report);
        self.cut_connections(&mut report);
        report
    }

    /// The records of all rules that are, or may be, in the kernel.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// Prepares the rules, which stay, for a time without a daemon.
    ///
    /// # Errors
    /// They stay all the same, as they were.
    pub fn leave(&mut self) -> Result<(), BackendError> {
        self.backend.leave()
    }

    /// The journal, when there is nothing left to do.
    pub fn into_journal(self) -> J {
        self.journal
    }

    fn applied(&self) -> BTreeMap<RuleId, OwnedRule> {
        let here = self.backend.kind();
        self.records
            .iter()
            .filter(|(_, r)| r.owned.rule.backend == here)
            .map(|(id, r)| (*id, r.owned.clone()))
            .collect()
    }

    fn cut_connections(&mut self, report: &mut Report) {
        self.connections
            .cut(self.records.values(), report, &self.log);
    }

    fn log_change(&self, verb: Verb, rule: &Rule) {
        info!(self.log, "{}", self.backend.describe(verb, rule));
    }

    /// Writes down what the journal lacks after a failure, unless it has failed in this round.
    fn settle_journal(&mut self, report: &mut Report) {
        let failed = |t: &Trouble| matches!(t, Trouble::Journal(_));
        if !self.journal_behind || report.troubles.iter().any(failed) {
            return;
        }
        self.kernel.age();
        let records: Vec<Record> = self.records.values().cloned().collect();
        let ids: Vec<RuleId> = self.records.keys().copied().collect();
        let gone: Vec<RuleId> = self.gone.iter().copied().collect();
        let written = self
            .journal
            .intend(&records)
            .and_then(|()| self.journal.commit(&ids))
            .and_then(|()| self.journal.forget(&gone));
        match written {
            Ok(()) => {
                self.gone.clear();
                self.journal_behind = false;
            }
            Err(error) => report.troubles.push(Trouble::Journal(error)),
        }
    }

    /// Remembers a write that failed, for [`Self::settle_journal`].
    fn note(&mut self, written: Result<(), JournalError>) {
        self.kernel.age();
        if let Err(error) = written {
            slog::debug!(self.log, "journal write postponed"; "reason" => %error);
            self.journal_behind = true;
        }
    }

    fn reown(&mut self, changed: &[OwnedRule], report: &mut Report) {
        let mut records = Vec::new();
        for owned in changed {
            if let Some(record) = self.records.get(&owned.rule.id()).cloned() {
                let before = &record.owned.owners;
                self.connections.reowned(&owned.rule, before, &owned.owners);
            }
            if let Some(record) = self.records.get_mut(&owned.rule.id()) {
                record.owned = owned.clone();
                record.boot_id = self.boot_id.clone();
                records.push(record.clone());
            }
        }
        if records.is_empty() {
            return;
        }
        let ids: Vec<RuleId> = records.iter().map(Record::id).collect();
        let written = self
            .journal
            .intend(&records)
            .and_then(|()| self.journal.commit(&ids));
        if let Err(error) = written {
            self.journal_behind = true;
            report.troubles.push(Trouble::Journal(error));
        }
    }
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

/// Whether no single rule can be the cause, so that trying each by itself is pointless too. Who
/// waits for a lock has waited seconds, and would do so for every rule.
fn blames_no_rule(error: &BackendError) -> bool {
    is_hopeless(error) || error.kind == ErrorKind::Busy
}

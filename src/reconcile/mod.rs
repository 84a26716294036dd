//! Makes the kernel match what is desired, with the journal ahead of every insertion.
//!
//! [`Reconciler`] owns the backend and the list of applied rules; it is the only code of the
//! daemon that changes rules. It is synchronous and runs in one thread, one call at a time. A crash
//! between any two of its steps leaves a journal in which every inserted rule stands, and a
//! kernel in which every rule of ours carries its comment; [`Reconciler::recover`] starts from
//! the union of both.
//!
//! What is known of the kernel ([`listing`]):
//!
//! ```text
//!   recover ──▶ Unlisted ──┐
//!                          │ resync               a change, or a wait for the disk
//!               Unknown ───┼─────────▶ Listed ───────────────────────────────────▶ Believed
//!                  ▲       │              │                                            │
//!                  │    Suspect ◀─────────┴── a rule was not as believed, or is left ──┤
//!                  │       │                                                           │
//!                  └───────┴───────────── the outcome of a change is not known ────────┘
//!                                         (also: the caller wants a fresh listing)
//! ```
//!
//! One round, [`Reconciler::converge`]:
//!
//! ```text
//!   resync    unless the kernel is Believed: list ▸ compare with the records ▸ repair
//!     │       the listing fails: the round is over
//!     ▼
//!   remove    mark ▸ apply ▸ owe: removals never wait for the disk
//!     │       the outcome is not known: nothing is inserted
//!     ▼
//!   pay       what is owed to the journal
//!     │       the journal is behind: of the replacements only the removals are made
//!     ▼
//!   insert    intend (fsync) ▸ apply ▸ owe: insertions and replacements in one batch
//!     │       then go rules of an earlier release whose work is done by what came
//!     ▼
//!   previous  empty the backends of earlier runs, once all that is desired is known
//!     ▼
//!   end       pay ▸ cut connections that the rules as they are now would not have made
//! ```
//!
//! [`apply`] makes every change of the kernel, with its fallbacks; [`owed`] holds what the journal
//! does not know yet; the states of a record are in [`crate::journal::record`].

mod applied;
mod apply;
mod change_log;
pub(crate) mod compare;
mod connections;
mod earlier;
mod insert;
mod listing;
mod owed;
mod previous;
mod remove;
pub mod report;
mod resync;
mod stale;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use slog::{Logger, error, info};

use self::applied::Applied;
pub(crate) use self::applied::Led;
use self::connections::Connections;
use self::earlier::{Recognising, superseded};
use self::listing::Kernel;
use self::owed::Owed;
pub use self::report::{Report, Trouble};
use crate::backend::compiler::Touched;
use crate::backend::{Backend, BackendError, compile};
use crate::conntrack::Flows;
use crate::journal::Journal;
use crate::journal::record::{Record, RecordEvent, RecordState};
use crate::model::boot::BootId;
use crate::model::change::{ChangeSet, Desired};
use crate::model::intent::Intent;
use crate::model::rule::{BackendKind, HostPort, OwnedRule, Rule, RuleId};

/// See the module's documentation.
pub struct Reconciler<J> {
    backend: Recognising,
    /// Backends of earlier runs, where rules may be left; each is emptied once, then dropped.
    previous: Vec<Box<dyn Backend>>,
    journal: J,
    log: Logger,
    boot_id: BootId,
    /// Applied: every rule that is, or may be, in the kernel.
    records: Applied,
    kernel: Kernel,
    owed: Owed,
    connections: Connections,
    /// When the event was read that the next changes follow from.
    event_at: Option<Instant>,
    /// Whether the rules of the last borrowed desired state are applied, and no others.
    is_in_step: bool,
}

/// Up to so many rules a debug build compares what it has computed in part with the whole.
const COMPARED: usize = 2_000;

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
            backend: Recognising::new(backend),
            previous,
            journal,
            log,
            boot_id,
            records: Applied::default(),
            kernel: Kernel::default(),
            owed: Owed::default(),
            connections: Connections::new(flows),
            event_at: None,
            is_in_step: false,
        }
    }

    /// Starts from what an earlier run left: applied = `records` ∪ every rule of ours in the
    /// kernel. `salvaged` records prove nothing; they give the owners of rules that the kernel
    /// shows, and the others are dropped. Forwards recorded in an earlier boot are removed at once,
    /// because their addresses may belong to other containers by now. `now` is in seconds since the
    /// epoch.
    pub fn recover(&mut self, records: Vec<Record>, salvaged: Vec<Record>, now: u64) -> Report {
        let mut report = Report::default();
        self.kernel = Kernel::Unlisted;
        self.owed = Owed::default();
        self.is_in_step = false;
        for record in &salvaged {
            self.owed.record(record.id());
        }
        let all = salvaged.into_iter().chain(records);
        self.records = Applied::of(all);
        self.backend.know(&self.records);
        match self.resync_since_boot(now, &mut report) {
            Ok(()) => self.end_round(&mut report),
            Err(trouble) => report.troubles.push(trouble),
        }
        report
    }

    /// Lists the kernel; the first time that this succeeds, removes the forwards of an earlier boot.
    fn resync_since_boot(&mut self, now: u64, report: &mut Report) -> Result<(), Trouble> {
        let is_first = self.kernel.is_unlisted();
        self.resync(now, report)?;
        if !is_first {
            return Ok(());
        }
        // What is not in the kernel after a crash or a reboot is recovery, not drift.
        report.drift = 0;
        let is_earlier = |r: &&Record| !r.owned.rule.is_static() && self.is_of_earlier_boot(r);
        let earlier: Vec<&Record> = self.records.values().filter(is_earlier).collect();
        let ids: BTreeSet<RuleId> = earlier.iter().map(|r| r.id()).collect();
        let here = earlier
            .iter()
            .filter(|r| r.owned.rule.backend == self.backend.kind());
        let here: BTreeSet<RuleId> = here.map(|r| r.id()).collect();
        if !here.is_empty() {
            info!(self.log, "removing the forwards of an earlier boot"; "count" => here.len());
            self.remove(&here, report);
        }
        self.remove_earlier_boot_from_previous(&ids, report);
        Ok(())
    }

    /// The backend in use.
    pub(crate) fn kind(&self) -> BackendKind {
        self.backend.kind()
    }

    /// What the intent comes to with the backend in use.
    pub fn compile(&self, intent: &Intent) -> Desired {
        compile::desired(self.backend.kind(), intent)
    }

    /// The next changes follow from an event that was read then; the log says how long ago that was.
    pub(crate) fn follow_event(&mut self, event_at: Option<Instant>) {
        self.event_at = event_at;
    }

    /// Makes the next round list the kernel first.
    pub fn invalidate(&mut self) {
        self.kernel.invalidate();
    }

    /// Takes the kernel from applied to `desired`, as far as it can be done now.
    pub fn converge(&mut self, desired: &Desired, now: u64) -> Report {
        self.converge_by(|| Cow::Borrowed(desired), None, now)
    }

    /// The same if `desired` depends on the rules of other programs: it is called after the listing,
    /// which takes a while, and just before the first change, so that it sees them as they are then.
    /// `touched`: in which rules a borrowed `desired` may differ from the borrowed one before.
    pub fn converge_to<'d>(
        &mut self,
        desired: impl FnOnce() -> Cow<'d, Desired>,
        touched: &Touched,
        now: u64,
    ) -> Report {
        self.converge_by(desired, Some(touched), now)
    }

    fn converge_by<'d>(
        &mut self,
        desired: impl FnOnce() -> Cow<'d, Desired>,
        touched: Option<&Touched>,
        now: u64,
    ) -> Report {
        let mut report = Report::default();
        // Only this round, if all goes well, makes applied and desired equal again.
        let was_in_step = std::mem::take(&mut self.is_in_step);
        let is_listed = self.kernel.needs_listing();
        if is_listed && let Err(trouble) = self.resync_since_boot(now, &mut report) {
            report.troubles.push(trouble);
            let behind = self.owed.end_round();
            report.troubles.extend(behind.map(Trouble::Journal));
            return report;
        }
        let desired = desired();
        let is_own = touched.is_some() && matches!(desired, Cow::Borrowed(_));
        let change = match touched {
            Some(Touched::Only(ids)) if was_in_step && is_own && !is_listed => {
                self.change_within(&desired, ids)
            }
            _ => ChangeSet::between(&desired, &self.applied()),
        };
        let superseded = superseded(&change, &self.records);
        let leaving = change.remove.iter().copied();
        let leaving = leaving.filter(|id| !superseded.contains(id)).collect();
        self.remove(&leaving, &mut report);
        let arrives = !change.insert.is_empty() || !change.replace.is_empty();
        if !self.kernel.is_unknown() {
            self.pay();
            if arrives {
                self.insert(&change, now, &mut report);
            }
            if change.insert.iter().all(|owned| self.is_applied(owned)) {
                self.remove(&superseded, &mut report);
            }
            self.reown(&change.reown);
        }
        self.kernel.age();
        if desired.is_complete() {
            self.empty_previous(&mut report);
        } else if desired.forwards_nothing() {
            self.remove_forwards_from_previous(&mut report);
        }
        self.end_round(&mut report);
        self.is_in_step = is_own
            && desired.is_complete()
            && desired.may_insert
            && report.troubles.is_empty()
            && self.owed.len() == 0
            && !self.kernel.needs_listing();
        report
    }

    /// The difference between desired and applied, which were equal before `touched` changed.
    fn change_within(&self, desired: &Desired, touched: &BTreeSet<RuleId>) -> ChangeSet {
        let here = self.backend.kind();
        let record = |id: &RuleId| self.records.get(id);
        let applied = touched.iter().filter_map(record);
        let applied = applied.filter(|record| record.owned.rule.backend == here);
        let applied = applied.map(|record| (record.id(), record.owned.clone()));
        let rule = |id: &RuleId| Some((*id, desired.rules.get(id)?.clone()));
        let part = Desired {
            rules: touched.iter().filter_map(rule).collect(),
            known: desired.known,
            undecided: desired.undecided.clone(),
            may_insert: desired.may_insert,
        };
        let change = ChangeSet::between(&part, &applied.collect());
        if cfg!(debug_assertions) && desired.rules.len() <= COMPARED {
            assert_eq!(change, ChangeSet::between(desired, &self.applied()));
        }
        change
    }

    /// The records of all rules that are, or may be, in the kernel.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &Record> {
        self.records.values()
    }

    /// The rule with this identity that is, or may be, in the kernel.
    pub(crate) fn rule(&self, id: RuleId) -> Option<&Rule> {
        Some(&self.records.get(&id)?.owned.rule)
    }

    /// How many ports are open, and to how many containers.
    pub(crate) fn open(&self) -> (usize, usize) {
        (self.records.ports(), self.records.containers())
    }

    /// The ports that have changed since the last call: see [`Applied::take_changes`].
    pub(crate) fn take_port_changes(&mut self) -> Vec<(HostPort, Option<Led>, Option<Led>)> {
        self.records.take_changes()
    }

    /// Prepares the rules, which stay, for a time without a daemon.
    ///
    /// # Errors
    /// The rules stay as they were.
    pub fn leave(&mut self) -> Result<(), BackendError> {
        self.backend.leave()
    }

    /// How many rules the journal does not know the truth about.
    pub(crate) fn owed(&self) -> usize {
        self.owed.len()
    }

    /// The journal, to read it. No record is changed through it.
    pub(crate) fn journal(&mut self) -> &mut J {
        &mut self.journal
    }

    /// Ends the work and gives back the journal.
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

    fn is_applied(&self, owned: &OwnedRule) -> bool {
        let record = self.records.get(&owned.rule.id());
        record.is_some_and(|record| record.state == RecordState::Applied)
    }

    /// Lets an event happen to a record. Returns the record if it goes by that.
    fn step(&mut self, id: RuleId, event: RecordEvent) -> Option<Record> {
        self.records.step(id, event).unwrap_or_else(|illegal| {
            error!(self.log, "a record is left as it is"; "rule" => %id, "reason" => %illegal);
            debug_assert!(false, "{illegal}");
            None
        })
    }

    /// Pays what is owed to the journal now; `false`: the journal is behind.
    fn pay(&mut self) -> bool {
        if self.owed.is_due() {
            self.kernel.age();
            self.owed.pay(&mut self.journal, &self.records, &self.log);
        }
        !self.owed.is_behind()
    }

    fn end_round(&mut self, report: &mut Report) {
        self.owed.forget_lost();
        self.pay();
        let behind = self.owed.end_round();
        report.troubles.extend(behind.map(Trouble::Journal));
        self.connections.cut(&self.records, report, &self.log);
    }

    fn reown(&mut self, changed: &[OwnedRule]) {
        for owned in changed {
            let boot_id = &self.boot_id;
            let reowned = self.records.reown(owned, |record| {
                record.boot_id = boot_id.clone();
            });
            if let Some(before) = reowned {
                self.connections
                    .reowned(&owned.rule, &before, &owned.owners);
                self.owed.record(owned.rule.id());
            }
        }
    }
}

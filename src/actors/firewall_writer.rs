//! The firewall writer: the only actor that changes the kernel.
//!
//! It runs in a thread of its own, which also starts the tools: they die with their thread, and this
//! one lives as long as the process. For what a crash at any point leaves behind see
//! [`crate::reconcile`].

mod compare;
mod figures;
mod journal_client;
mod open_ports;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, Handler, SyncContext};
use ipnet::Ipv6Net;
use slog::{Logger, debug};

use self::figures::{cause_of, figures_of};
pub(crate) use self::journal_client::JournalClient;
use self::open_ports::last_change;
use super::messages::{Converge, FindForeign, Leave, Ping, Recover, RemoveAll, Round};
use crate::backend::BackendError;
use crate::backend::compiler::Compiler;
use crate::control::board::{Reporter, StatusBoard};
use crate::control::connections::ConnectionTotals;
use crate::control::moment::Moment;
use crate::docker_nat::gate::StandbyState;
use crate::docker_nat::watch::{Observation, Watch};
use crate::journal::Journal;
use crate::journal::history::cause::Cause;
use crate::mapper::standby::admitted;
use crate::model::change::Desired;
use crate::model::conditions::ForeignRules;
use crate::model::device::Device;
use crate::model::forwards::Forwards;
use crate::model::intent::Intent;
use crate::model::problem::ProblemId;
use crate::reconcile::{Reconciler, Report, Trouble};
use crate::sys::causes::chain;
use crate::sys::failpoint;

/// Finds what drops packets from these interfaces to these prefixes; `None` if that is not known now.
pub(crate) type FindDrops = Box<dyn Fn(&[Device], &[Ipv6Net]) -> Option<ForeignRules> + Send>;

/// The actor. See the module's documentation.
pub(crate) struct FirewallWriter {
    reconciler: Reconciler<JournalClient>,
    docker_nat: Option<Watch>,
    /// Makes rules of intents.
    compiler: Compiler,
    /// Whether recovery is over: what it finds, an earlier run has opened.
    has_recovered: bool,
    /// What the last round was to bring about, and what Docker's own NAT did then.
    desired: Option<(Arc<Intent>, StandbyState)>,
    /// Connections since the start, for monitoring.
    totals: ConnectionTotals,
    find_drops: FindDrops,
    board: StatusBoard,
    log: Logger,
    clock: fn() -> u64,
}

impl FirewallWriter {
    /// A writer with a reconciler that has not recovered yet. `docker_nat` observes Docker's own NAT;
    /// with `None` the writer sets the rules without regard to it. `find_drops` reads the rules of other
    /// programs. `clock` gives seconds since the epoch.
    pub(crate) fn new(
        reconciler: Reconciler<JournalClient>,
        docker_nat: Option<Watch>,
        find_drops: FindDrops,
        board: StatusBoard,
        log: Logger,
        clock: fn() -> u64,
    ) -> Self {
        Self {
            compiler: Compiler::new(reconciler.kind()),
            reconciler,
            docker_nat,
            find_drops,
            has_recovered: false,
            desired: None,
            totals: ConnectionTotals::since(clock()),
            board,
            log,
            clock,
        }
    }

    /// Reports what a round has done. `event_at` is when the event was read that caused it.
    fn publish(
        &mut self,
        report: &Report,
        docker_nat: Option<&Arc<Observation>>,
        began: Instant,
        event_at: Option<Instant>,
    ) {
        let changes = self.reconciler.take_port_changes();
        let change = match std::mem::replace(&mut self.has_recovered, true) {
            true => last_change(&changes, event_at),
            false => None,
        };
        let (ports, containers) = self.reconciler.open();
        let mut reports = self.board.lock();
        reports.measured.count(report);
        reports.figures.rules = self.reconciler.records().len();
        reports.figures.forwards = ports;
        reports.figures.containers = containers;
        reports.figures.drift_repairs += report.drift as u64;
        if report.drift > 0 {
            reports.figures.last_repair = Some(Moment::now());
        }
        if change.is_some() {
            reports.figures.last_change = change;
        }
        let (journal, firewall): (Vec<_>, Vec<_>) = report
            .troubles
            .iter()
            .partition(|t| matches!(t, Trouble::Journal(_)));
        let unobserved = docker_nat.map(|it| [&it.failure, &it.unread]);
        let unobserved = unobserved.into_iter().flatten().flatten();
        let firewall = firewall.into_iter().map(chain);
        let firewall = firewall.chain(unobserved.map(chain)).collect();
        let journal = journal.into_iter().map(chain).collect();
        reports.set_sentences(Reporter::Journal, ProblemId::Journal, journal);
        reports.set_sentences(Reporter::Firewall, ProblemId::Firewall, firewall);
        if let Some(observation) = docker_nat {
            reports.set_problems(Reporter::DockerNat, observation.audit.problems());
            reports.served_by_podman = observation.audit.served_by_podman.clone();
            reports.figures.native = Some(figures_of(observation));
        }
        drop(reports);
        debug!(self.log, "round done"; "inserted" => report.inserted, "removed" => report.removed,
            "drift" => report.drift, "troubles" => report.troubles.len(),
            "owed" => self.reconciler.owed(),
            "took_us" => began.elapsed().as_micros() as u64);
    }

    /// Notes how late the kernel has followed Docker.
    fn measure(&self, message: &Converge, round: &Round) {
        let now = Instant::now();
        let standing_by = round.docker_nat.as_ref();
        let standing_by = standing_by.is_some_and(|it| it.state == StandbyState::On);
        let forwards = message.intent.forwards.as_ref().map_or(0, Forwards::len);
        let mut reports = self.board.lock();
        let measured = &mut reports.measured;
        measured.wanted = if standing_by { 0 } else { forwards };
        let changed = round.report.inserted + round.report.removed > 0;
        if let Some(event_at) = message.event_at.filter(|_| changed) {
            measured.event_to_rule.observe(now.duration_since(event_at));
        }
    }
}

impl Actor for FirewallWriter {
    type Context = SyncContext<Self>;
}

impl Handler<Recover> for FirewallWriter {
    type Result = actix::MessageResult<Recover>;

    fn handle(&mut self, message: Recover, _: &mut SyncContext<Self>) -> Self::Result {
        failpoint::panic("recovery begins");
        let began = Instant::now();
        let Recover { records, salvaged } = message;
        let report = self.reconciler.recover(records, salvaged, (self.clock)());
        self.publish(&report, None, began, None);
        actix::MessageResult(report)
    }
}

impl Handler<Converge> for FirewallWriter {
    type Result = actix::MessageResult<Converge>;

    fn handle(&mut self, message: Converge, _: &mut SyncContext<Self>) -> Self::Result {
        failpoint::panic("a round begins");
        let began = Instant::now();
        let watch = self.docker_nat.as_mut();
        let compiler = &mut self.compiler;
        let started = self.board.started();
        let now = (self.clock)();
        let since_start = || started.elapsed();
        self.reconciler.follow_event(message.event_at);
        let board = &self.board;
        // The old one may hold the last reference to what Docker showed of very many ports.
        let begin = |state| {
            let cause = cause_of(&message, state, now);
            let old = std::mem::replace(&mut board.lock().cause, cause);
            drop(old);
        };
        let round = round(
            &mut self.reconciler,
            compiler,
            watch,
            &message,
            since_start,
            begin,
            now,
        );
        self.measure(&message, &round);
        let event_at = message.event_at;
        let state = round.docker_nat.as_ref().map(|it| it.state);
        let before = self.desired.take().map(|(_, state)| state);
        let state = state.or(before).unwrap_or(StandbyState::Off);
        self.desired = Some((message.intent, state));
        self.publish(&round.report, round.docker_nat.as_ref(), began, event_at);
        actix::MessageResult(round)
    }
}

/// Observes Docker's own NAT and makes the kernel match the rules that are desired beside it. `begin` is
/// called with its state before the first change.
fn round<J: Journal>(
    reconciler: &mut Reconciler<J>,
    compiler: &mut Compiler,
    watch: Option<&mut Watch>,
    message: &Converge,
    since_start: impl FnOnce() -> Duration,
    begin: impl FnOnce(StandbyState),
    now: u64,
) -> Round {
    let Converge {
        intent,
        published,
        remaining: _,
        verify,
        event_at: _,
    } = message;
    // Records of an earlier run, and those of all rules if all are compiled anew, hold the same rules.
    let touched = compiler.follow_beside(intent, &|id| reconciler.rule(id));
    let desired = compiler.desired();
    if *verify {
        reconciler.invalidate();
    }
    let mut docker_nat = None;
    let observe = |watch: &mut Watch| {
        watch.observe(published.as_deref(), desired.has_forwards(), since_start)
    };
    let admitted = || {
        docker_nat = watch.map(observe);
        let state = docker_nat.as_ref().map(|it| it.state);
        let state = state.unwrap_or(StandbyState::Off);
        begin(state);
        admitted(desired, state)
    };
    let report = reconciler.converge_to(admitted, &touched, now);
    Round { report, docker_nat }
}

/// Removes every rule of ours, without observing Docker's own NAT.
fn remove_all<J: Journal>(reconciler: &mut Reconciler<J>, now: u64) -> Report {
    reconciler.invalidate();
    reconciler.converge(&Desired::nothing(), now)
}

impl Handler<RemoveAll> for FirewallWriter {
    type Result = actix::MessageResult<RemoveAll>;

    fn handle(&mut self, RemoveAll: RemoveAll, _: &mut SyncContext<Self>) -> Self::Result {
        failpoint::panic("a round begins");
        let began = Instant::now();
        self.reconciler.follow_event(None);
        self.board.lock().cause = Cause::Leaving;
        let report = remove_all(&mut self.reconciler, (self.clock)());
        self.publish(&report, None, began, None);
        actix::MessageResult(report)
    }
}

impl Handler<FindForeign> for FirewallWriter {
    type Result = actix::MessageResult<FindForeign>;

    fn handle(&mut self, message: FindForeign, _: &mut SyncContext<Self>) -> Self::Result {
        let FindForeign { devices, prefixes } = message;
        actix::MessageResult((self.find_drops)(&devices, &prefixes))
    }
}

impl Handler<Ping> for FirewallWriter {
    type Result = ();

    fn handle(&mut self, _: Ping, ctx: &mut SyncContext<Self>) {
        if failpoint::stops("firewall writer") {
            ctx.stop();
        }
    }
}

impl Handler<Leave> for FirewallWriter {
    type Result = Result<(), BackendError>;

    fn handle(&mut self, Leave: Leave, _: &mut SyncContext<Self>) -> Self::Result {
        self.reconciler.leave()
    }
}

#[cfg(test)]
mod tests;

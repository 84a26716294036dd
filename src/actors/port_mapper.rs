//! The port mapper: computes the intent from the latest snapshot and sends it to the writer.
//!
//! It keeps only the latest snapshot, and gives the writer one intent at a time: while the writer
//! works, newer snapshots replace the one that waits. It retries a failed round after a growing pause.
//! A crash loses nothing.
//!
//! Threads beside it listen to the kernel's notifications about rules and routes.
//!
//! ```text
//!   snapshot, resync, grace over, routes ──▶ [wanted] ──writer free──▶ [in flight] ──report──▶ idle
//!                                        ▲                                      │
//!                                        └───────── pause, on troubles ◀────────┘
//! ```

mod drift_watch;
mod observe;
mod reports;
mod resync;
mod resyncing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, SpawnHandle,
    WrapFuture,
};
use slog::{Logger, warn};

pub(crate) use self::drift_watch::DriftWatch;
use self::drift_watch::{MOST_VERIFIED, VERIFY_PAUSE, VERIFY_WINDOW};
use self::resyncing::Resyncing;
use super::abort;
use super::firewall_writer::FirewallWriter;
use super::messages::{Converge, HostChanged, Ping, SnapshotTaken, Stop};
use crate::control::board::{Reporter, StatusBoard};
use crate::control::resync::ResyncReason;
use crate::docker::backoff::Backoff;
use crate::logging::once::LogChanges;
use crate::mapper::compute::{
    Choice, Computed, DockerState, HairpinMode, HostFacts, MapperOptions,
};
use crate::mapper::forwards::Resolved;
use crate::mapper::parts::Parts;
use crate::mapper::remaining::Remaining;
use crate::model::conditions::ForeignRules;
use crate::model::container::Snapshot;
use crate::netlink::watch::{Watched, watch};
use crate::sys::causes::chain;
use crate::sys::failpoint;
use crate::sys::host::PortSource;

/// How many messages may wait. There is at most one per snapshot, and the event watcher waits
/// until a snapshot has been taken before it sends the next.
const MAILBOX: usize = 16;

/// First pause before a failed round is retried: long enough for a tool that held the tables to
/// finish, short enough that nobody notices it.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// Longest pause. A cause that has lasted does not justify starting a process every second.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Added to a pause, so that a time limit that ends with it has passed when the timer fires.
const JUST_AFTER: Duration = Duration::from_millis(1);

/// How long readiness waits for containers that Docker has listed but not answered about. An
/// inspect takes some milliseconds, and up to a second during a container's teardown.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long to wait for further changes of links before the host's health is checked: each container
/// that starts or ends causes several.
const HOST_SETTLES: Duration = Duration::from_millis(250);

/// The actor. See the module's documentation.
pub(crate) struct PortMapper {
    options: MapperOptions,
    host: HostFacts,
    writer: Addr<FirewallWriter>,
    board: StatusBoard,
    log: Logger,
    /// When forwards of an earlier run that Docker has not confirmed are removed.
    grace_ends: Instant,
    drift_watch: DriftWatch,
    /// Since when comparisons are counted, and how many there were.
    verify_rate: (Instant, u32),
    on_ready: Option<Box<dyn FnOnce()>>,
    snapshot: Option<Arc<Snapshot>>,
    /// When the first event was read that no round has followed yet.
    event_at: Option<Instant>,
    /// When the list was asked for that the snapshot has.
    listed_at: Option<Instant>,
    resyncing: Option<Resyncing>,
    first_snapshot_at: Option<Instant>,
    wanted: bool,
    /// Why the next round lists the kernel; `None`: it need not.
    verify: Option<ResyncReason>,
    in_flight: bool,
    stopping: bool,
    retry: Option<(SpawnHandle, Instant)>,
    backoff: Backoff,
    /// The failures of the last round.
    failures: LogChanges<String>,
    /// What is not forwarded, and whether that was unexpected.
    skipped: LogChanges<(String, bool)>,
    /// What keeps packets from getting through the host, and what solves it.
    problems: LogChanges<(String, Option<String>)>,
    /// What was last found of the rules of others.
    foreign: ForeignRules,
    /// Whether the writer has been asked for them and has not answered.
    asks_foreign: bool,
    /// The forwards that the last snapshot resolved to.
    resolved: Arc<Resolved>,
    /// Whether the host is about to be observed again.
    host_changed: bool,
    /// What each container came to.
    parts: Parts,
    /// [`Computed::changes`] at the last scan for docker-proxies; `None` before the first.
    scanned: Option<u64>,
    /// Where the served ports were read from then.
    port_source: Option<PortSource>,
    /// Rules inserted or removed since free memory was last returned.
    changes: usize,
}

impl PortMapper {
    /// A mapper without a snapshot. It calls `on_ready` once, when the first complete list has been
    /// applied.
    pub(crate) fn new(
        options: MapperOptions,
        writer: Addr<FirewallWriter>,
        board: StatusBoard,
        log: Logger,
        grace_ends: Instant,
        drift_watch: DriftWatch,
        on_ready: Box<dyn FnOnce()>,
    ) -> Self {
        Self {
            options,
            host: HostFacts::default(),
            writer,
            board,
            log,
            grace_ends,
            drift_watch,
            verify_rate: (Instant::now(), 0),
            on_ready: Some(on_ready),
            snapshot: None,
            event_at: None,
            listed_at: None,
            resyncing: None,
            first_snapshot_at: None,
            wanted: false,
            verify: None,
            in_flight: false,
            stopping: false,
            retry: None,
            backoff: Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE),
            failures: LogChanges::default(),
            skipped: LogChanges::default(),
            problems: LogChanges::default(),
            foreign: ForeignRules::default(),
            asks_foreign: false,
            resolved: Arc::default(),
            host_changed: false,
            parts: Parts::default(),
            scanned: None,
            port_source: None,
            changes: 0,
        }
    }

    fn want(&mut self, ctx: &mut Context<Self>) {
        self.wanted = true;
        self.pump(ctx);
    }

    /// Sends the latest intent to the writer, if the writer is free.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        if !self.wanted || self.in_flight || self.stopping {
            return;
        }
        failpoint::panic("a desired state is made");
        if let Some((retry, _)) = self.retry.take() {
            ctx.cancel_future(retry);
        }
        if let Err(error) = self.observe_host() {
            self.wanted = false;
            let failure = format!("the host cannot be read: {}", chain(&error));
            self.settle(vec![failure], Reporter::Mapper, ctx);
            return;
        }
        self.report_unanswered();
        let docker = match self.snapshot.as_deref() {
            Some(snapshot) => DockerState::Snapshot(snapshot),
            None if self.host.grace_over => DockerState::Silence,
            None => DockerState::NotYet,
        };
        let mut computed = self
            .options
            .compute_from(&mut self.parts, docker, &self.host);
        let auto = self.options.hairpin == HairpinMode::Auto;
        let is_scanned = self.on_ready.is_none() || self.scanned == Some(computed.changes);
        if auto
            && !is_scanned
            && let Some(snapshot) = self.snapshot.clone()
        {
            // The first round must know which hairpin rules of an earlier run to keep.
            self.observe_proxies(&computed.resolved.host_ports(), computed.changes);
            let docker = DockerState::Snapshot(&snapshot);
            computed = self
                .options
                .compute_from(&mut self.parts, docker, &self.host);
        }
        let Computed {
            intent,
            published,
            changes,
            resolved,
        } = computed;
        let intent = Arc::new(intent);
        self.report_skipped(&resolved.skipped);
        self.resolved = Arc::new(resolved);
        let remaining = Remaining::new(self.snapshot.clone(), self.resolved.clone()).into();
        self.wanted = false;
        self.in_flight = true;
        let verify = std::mem::take(&mut self.verify);
        let is_docker_known = self.has_docker_state();
        let (sent_at, listed_at) = (Instant::now(), self.listed_at);
        self.board.lock().measured.in_flight_since = Some(sent_at);
        let request = self.writer.send(Converge {
            intent,
            published,
            remaining,
            verify: verify.is_some(),
            event_at: self.event_at.take(),
        });
        ctx.spawn(request.into_actor(self).map(move |round, this, ctx| {
            this.in_flight = false;
            this.board.lock().measured.in_flight_since = None;
            match round {
                Ok(round) => {
                    // After the round, in which the writer has observed Docker's own NAT.
                    this.report_health();
                    // With very many rules of others this takes the writer half a second, so not at
                    // each change of theirs.
                    if verify.is_some_and(|reason| reason != ResyncReason::RulesChanged) {
                        this.ask_foreign(ctx);
                    }
                    this.take_report(&round, is_docker_known, verify, ctx);
                    this.note_round(&round, verify, sent_at, listed_at);
                    let auto = this.options.hairpin == HairpinMode::Auto;
                    // After the rules for the outside, because this reads all of /proc.
                    let is_due = auto && is_docker_known && this.scanned != Some(changes);
                    if is_due && this.observe_proxies(&this.resolved.host_ports(), changes) {
                        this.want(ctx);
                    }
                    this.pump(ctx);
                }
                Err(_) => abort(&this.log, "the firewall writer is gone"),
            }
        }));
    }

    /// Whether Docker has answered about every container, or [`PATIENCE`] has passed.
    fn has_docker_state(&self) -> bool {
        let in_time = self
            .first_snapshot_at
            .is_some_and(|at| at.elapsed() < PATIENCE);
        let snapshot = self.snapshot.as_ref();
        snapshot.is_some_and(|s| s.unanswered.is_empty() || !in_time)
    }

    /// Starts a round whenever the kernel reports a change of this kind.
    fn watch(&self, what: Watched, ctx: &mut Context<Self>) {
        let address = ctx.address();
        let log = self.log.clone();
        let ended = move |error| {
            let why = chain(&error);
            abort(&log, &format!("{what:?} are no longer watched: {why}"))
        };
        // One message in the mailbox serves for several.
        let changed = move || drop(address.try_send(HostChanged(what)));
        if let Err(error) = watch(what, self.drift_watch.own_ports.clone(), changed, ended) {
            // Some kernels send no such notifications; the next resync still finds the changes.
            warn!(self.log, "changes made by others are not noticed"; "of" => ?what,
                "reason" => chain(&error));
        }
    }
}

impl Actor for PortMapper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        let grace = self.grace_ends.saturating_duration_since(Instant::now());
        ctx.run_later(grace.max(Duration::from_millis(1)), |this, ctx| {
            this.host.grace_over = true;
            this.want(ctx);
            if this.snapshot.is_some() {
                return;
            }
            if this.board.lock().figures.forwards > 0 {
                warn!(
                    this.log,
                    "Docker has not confirmed the forwards of the earlier run in \
                    time; removing them until it does"
                );
                this.want(ctx);
            }
        });
        self.watch(Watched::Routes, ctx);
        ctx.run_interval(self.drift_watch.interval, |this, ctx| {
            failpoint::panic("it is time to verify");
            this.verify.get_or_insert(ResyncReason::Timer);
            this.want(ctx);
        });
        // The static rules do not wait for Docker.
        self.want(ctx);
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        if !self.stopping {
            abort(&self.log, "the port mapper is gone");
        }
    }
}

impl Handler<SnapshotTaken> for PortMapper {
    type Result = ();

    fn handle(&mut self, taken: SnapshotTaken, ctx: &mut Context<Self>) {
        if self.snapshot.is_none() {
            // The first list is compared with a fresh listing of the kernel.
            self.verify = Some(ResyncReason::FirstList);
            self.first_snapshot_at = Some(Instant::now());
            ctx.run_later(PATIENCE + JUST_AFTER, |this, ctx| this.want(ctx));
        }
        self.snapshot = Some(taken.snapshot);
        self.event_at = self.event_at.or(taken.event_at);
        self.listed_at = taken.listed_at;
        self.want(ctx);
    }
}

impl Handler<HostChanged> for PortMapper {
    type Result = ();

    fn handle(&mut self, HostChanged(what): HostChanged, ctx: &mut Context<Self>) {
        if what == Watched::Routes && self.options.devices != Choice::Auto {
            // Such a change affects what `status` reports, but no rule.
            if !self.host_changed {
                self.host_changed = true;
                ctx.run_later(HOST_SETTLES, |this, _| {
                    this.host_changed = false;
                    this.report_health();
                });
            }
            return;
        }
        if what == Watched::Rules {
            self.verify.get_or_insert(ResyncReason::RulesChanged);
            let (since, verified) = self.verify_rate;
            if verified > MOST_VERIFIED && since.elapsed() < VERIFY_WINDOW {
                return self.try_again_in(VERIFY_PAUSE, ctx);
            }
        }
        self.want(ctx);
    }
}

impl Handler<Stop> for PortMapper {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        self.stopping = true;
        self.give_up_resync();
        if let Some((retry, _)) = self.retry.take() {
            ctx.cancel_future(retry);
        }
    }
}

impl Handler<Ping> for PortMapper {
    type Result = ();

    fn handle(&mut self, _: Ping, ctx: &mut Context<Self>) {
        if failpoint::stops("port mapper") {
            ctx.stop();
        }
    }
}

#[cfg(test)]
mod tests;

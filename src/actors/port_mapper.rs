//! The port mapper: from snapshots to desired rules, the newest first.
//!
//! It keeps only the latest snapshot, and hands the writer one desired state at a time: while
//! the writer works, newer snapshots replace the one that waits. What the writer could not do
//! is tried again with a growing pause. It holds nothing that a crash could lose.
//!
//! Threads beside it wait for changes of rules and, with `--dev auto`, of routes.
//!
//! ```text
//!   snapshot, resync, grace over, routes ──▶ [wanted] ──writer free──▶ [in flight] ──report──▶ idle
//!                                        ▲                                      │
//!                                        └───────── pause, on troubles ◀────────┘
//! ```

mod observe;
mod reports;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, SpawnHandle,
    WrapFuture,
};
use slog::{Logger, warn};

use super::abort;
use super::firewall_writer::FirewallWriter;
use super::messages::{Converge, HostChanged, Ping, Resync, SnapshotTaken, Stop};
use crate::control::board::{Reporter, StatusBoard};
use crate::docker::backoff::Backoff;
use crate::mapper::compute::{
    Choice, Computed, DockerState, HairpinMode, HostFacts, MapperOptions,
};
use crate::mapper::forwards::Resolved;
use crate::model::container::Snapshot;
use crate::model::forward::Proto;
use crate::model::problem::Problem;
use crate::netlink::watch::{OwnPorts, Watched, watch};
use crate::sys::causes::chain;
use crate::sys::failpoint;
use crate::sys::host::Seen;

/// How many messages may wait. There is at most one per snapshot, and the event watcher waits
/// until a snapshot has been taken before it sends the next.
const MAILBOX: usize = 16;

/// First pause before a failed change is tried again: long enough for a tool that held the
/// tables to be done, short enough not to be noticed.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// Longest pause. A cause that has lasted is not worth a process a second.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Added to a pause, so that a time limit that ends with it has passed when the timer fires.
const JUST_AFTER: Duration = Duration::from_millis(1);

/// How long being ready waits for containers that Docker has listed and not answered about. An
/// inspect takes some milliseconds, and up to a second in a container's teardown.
const PATIENCE: Duration = Duration::from_millis(500);

/// After changes of so many rules, free memory is given back to the system: less leaves some
/// megabytes, which the next change uses again.
const MANY: usize = 1_000;

/// When that is done: once the other threads have let go of what such a change has taken, and again
/// when the journal has been written anew, if it has outgrown its content.
const GIVES_BACK_AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// Each container that starts or ends changes links several times.
const HOST_SETTLES: Duration = Duration::from_millis(250);

/// How the mapper notices that somebody else has changed our rules.
#[derive(Debug, Clone)]
pub struct DriftWatch {
    /// How often the rules are listed although nobody has announced a change.
    pub interval: Duration,
    /// From which netlink ports our own changes come.
    pub own_ports: OwnPorts,
}

/// Most comparisons within [`VERIFY_WINDOW`] that a change of rules causes at once. A repair takes
/// two, for its cause may come in several pieces. A program that undoes our repairs that often will
/// not stop because we repair faster; and one that changes its own rules that often must not make
/// us start processes all the time.
const MOST_VERIFIED: u32 = 40;

/// The time in which comparisons are counted.
const VERIFY_WINDOW: Duration = Duration::from_secs(1);

/// How long the next comparison waits after [`MOST_VERIFIED`] of them.
const VERIFY_PAUSE: Duration = Duration::from_millis(250);

/// The actor. See the module's documentation.
pub struct PortMapper {
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
    first_heard: Option<Instant>,
    wanted: bool,
    verify: bool,
    in_flight: bool,
    stopping: bool,
    retry: Option<SpawnHandle>,
    backoff: Backoff,
    /// What the last round could not do.
    failures: Vec<String>,
    skipped: BTreeSet<String>,
    /// What keeps packets from getting through, as it was reported last.
    problems: Vec<Problem>,
    /// What the last snapshot gave.
    resolved: Arc<Resolved>,
    /// Whether the host is about to be observed again.
    host_changed: bool,
    /// The ports for which docker-proxies were looked for last; `None` before the first time.
    scanned: Option<BTreeSet<(Proto, u16)>>,
    /// How it was known what they serve.
    seen: Option<Seen>,
    /// Rules that were inserted or removed since free memory was given back last.
    changes: usize,
}

impl PortMapper {
    /// A mapper that has not heard of Docker yet. `on_ready` is called once, when the first
    /// complete list has been applied.
    pub fn new(
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
            first_heard: None,
            wanted: false,
            verify: false,
            in_flight: false,
            stopping: false,
            retry: None,
            backoff: Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE),
            failures: Vec::new(),
            skipped: BTreeSet::new(),
            problems: Vec::new(),
            resolved: Arc::default(),
            host_changed: false,
            scanned: None,
            seen: None,
            changes: 0,
        }
    }

    fn want(&mut self, ctx: &mut Context<Self>) {
        self.wanted = true;
        self.pump(ctx);
    }

    /// Hands the latest desired state to the writer, if it is free.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        if !self.wanted || self.in_flight || self.stopping {
            return;
        }
        failpoint::panic("a desired state is made");
        if let Some(retry) = self.retry.take() {
            ctx.cancel_future(retry);
        }
        if let Err(error) = self.observe_host() {
            self.wanted = false;
            let failure = format!("the host cannot be read: {}", chain(&error));
            self.settle(vec![failure], Reporter::Mapper, ctx);
            return;
        }
        self.report_unanswered();
        let heard = match &self.snapshot {
            Some(snapshot) => DockerState::Snapshot(snapshot),
            None if self.host.grace_over => DockerState::Silence,
            None => DockerState::NotYet,
        };
        let mut planned = self.options.compute(heard, &self.host);
        let ports = host_ports(&planned);
        let auto = self.options.hairpin == HairpinMode::Auto;
        let is_scanned = self.on_ready.is_none() || self.scanned.as_ref() == Some(&ports);
        if auto && !is_scanned && self.snapshot.is_some() {
            // The rules of an earlier run stay in place only if they are known to be wanted.
            self.look_for_proxies(&ports);
            let heard = self
                .snapshot
                .as_deref()
                .map_or(DockerState::NotYet, DockerState::Snapshot);
            planned = self.options.compute(heard, &self.host);
        }
        let Computed {
            intent,
            published,
            resolved,
        } = planned;
        let intent = Arc::new(intent);
        self.report_skipped(&resolved.skipped);
        self.resolved = Arc::new(resolved);
        self.wanted = false;
        self.in_flight = true;
        let verify = std::mem::take(&mut self.verify);
        let heard = self.has_heard();
        let request = self.writer.send(Converge {
            intent,
            published,
            verify,
        });
        ctx.spawn(request.into_actor(self).map(move |round, this, ctx| {
            this.in_flight = false;
            match round {
                Ok(round) => {
                    // It depends on whether Docker's own NAT is on, which the writer has seen.
                    this.report_health();
                    this.take_report(&round, heard, verify, ctx);
                    let auto = this.options.hairpin == HairpinMode::Auto;
                    // After the rules for the outside, for it reads all of /proc.
                    if auto && heard && this.scanned.as_ref() != Some(&ports) {
                        this.look_for_proxies(&ports);
                        this.want(ctx);
                    }
                    this.pump(ctx);
                }
                Err(_) => abort(&this.log, "the firewall writer is gone"),
            }
        }));
    }

    /// Whether Docker has said what it publishes: all of it, or as much as it says in time.
    fn has_heard(&self) -> bool {
        let in_time = self.first_heard.is_some_and(|at| at.elapsed() < PATIENCE);
        let snapshot = self.snapshot.as_ref();
        snapshot.is_some_and(|s| s.unanswered.is_empty() || !in_time)
    }

    /// Looks again whenever something of this kind has changed.
    fn watch(&self, what: Watched, ctx: &mut Context<Self>) {
        let address = ctx.address();
        let log = self.log.clone();
        let ended = move |error| {
            let why = chain(&error);
            abort(&log, &format!("{what:?} are watched no more: {why}"))
        };
        // One message in the mailbox is as good as several.
        let changed = move || drop(address.try_send(HostChanged(what)));
        if let Err(error) = watch(what, self.drift_watch.own_ports.clone(), changed, ended) {
            // Not every kernel announces them; the next resync still sees them.
            warn!(self.log, "changes made by others are not noticed"; "of" => ?what,
                "reason" => chain(&error));
        }
    }
}

fn host_ports(planned: &Computed) -> BTreeSet<(Proto, u16)> {
    let forwards = planned.resolved.forwards.iter();
    forwards.map(|f| (f.proto, f.host_port)).collect()
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
            this.verify = true;
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

    fn handle(&mut self, SnapshotTaken(snapshot): SnapshotTaken, ctx: &mut Context<Self>) {
        if self.snapshot.is_none() {
            // The first list is compared with the kernel, not with our memory of it.
            self.verify = true;
            self.first_heard = Some(Instant::now());
            ctx.run_later(PATIENCE + JUST_AFTER, |this, ctx| this.want(ctx));
        }
        self.snapshot = Some(snapshot);
        self.want(ctx);
    }
}

impl Handler<Resync> for PortMapper {
    type Result = ();

    fn handle(&mut self, _: Resync, ctx: &mut Context<Self>) {
        self.verify = true;
        self.want(ctx);
    }
}

impl Handler<HostChanged> for PortMapper {
    type Result = ();

    fn handle(&mut self, HostChanged(what): HostChanged, ctx: &mut Context<Self>) {
        if what == Watched::Routes && self.options.devices != Choice::Auto {
            // It changes what `status` reports, and no rule.
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
            self.verify = true;
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
        if let Some(retry) = self.retry.take() {
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

//! The port mapper: from snapshots to desired rules, the newest first.
//!
//! It keeps only the latest snapshot, and hands the writer one desired state at a time: while
//! the writer works, newer snapshots replace the one that waits. What the writer could not do
//! is tried again with a growing pause. It holds nothing that a crash could lose.
//!
//! ```text
//!   snapshot, resync, grace over ──▶ [wanted] ──writer free──▶ [in flight] ──report──▶ idle
//!                                        ▲                                      │
//!                                        └───────── pause, on troubles ◀────────┘
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, SpawnHandle, WrapFuture};
use slog::{Logger, debug, error, info, warn};

use super::die;
use super::firewall_writer::FirewallWriter;
use super::messages::{Converge, Resync, SnapshotTaken, Stop};
use crate::control::status::{Board, Reporter};
use crate::docker::backoff::Backoff;
use crate::host;
use crate::mapper::forwards::{Bounds, Reason, Resolved, Skipped, resolve};
use crate::mapper::publish::Closed;
use crate::mapper::rules::{Layout, desired};
use crate::model::container::Snapshot;
use crate::reconcile::Report;
use crate::text::chain;

/// How many messages may wait. There is at most one per snapshot, and the event watcher waits
/// until a snapshot has been taken before it sends the next.
const MAILBOX: usize = 16;

/// First pause before a failed change is tried again: long enough for a tool that held the
/// tables to be done, short enough not to be noticed.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// Longest pause. A cause that has lasted is not worth a process a second.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The actor. See the module's documentation.
pub struct PortMapper {
    layout: Layout,
    writer: Addr<FirewallWriter>,
    board: Board,
    log: Logger,
    /// When forwards of an earlier run that Docker has not confirmed are removed.
    grace_ends: Instant,
    on_ready: Option<Box<dyn FnOnce()>>,
    snapshot: Option<Arc<Snapshot>>,
    grace_over: bool,
    wanted: bool,
    verify: bool,
    in_flight: bool,
    stopping: bool,
    retry: Option<SpawnHandle>,
    backoff: Backoff,
    complaints: Vec<String>,
    skipped: BTreeSet<String>,
}

impl PortMapper {
    /// A mapper that has not heard of Docker yet. `on_ready` is called once, when the first
    /// complete list has been applied.
    pub fn new(
        layout: Layout,
        writer: Addr<FirewallWriter>,
        board: Board,
        log: Logger,
        grace_ends: Instant,
        on_ready: Box<dyn FnOnce()>,
    ) -> Self {
        Self {
            layout,
            writer,
            board,
            log,
            grace_ends,
            on_ready: Some(on_ready),
            snapshot: None,
            grace_over: false,
            wanted: false,
            verify: false,
            in_flight: false,
            stopping: false,
            retry: None,
            backoff: Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE),
            complaints: Vec::new(),
            skipped: BTreeSet::new(),
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
        if let Some(retry) = self.retry.take() {
            ctx.cancel_future(retry);
        }
        let resolved = match self.resolve() {
            Ok(resolved) => resolved,
            Err(error) => {
                self.wanted = false;
                let complaint = format!("the host's addresses cannot be read: {error}");
                self.settle(vec![complaint], Reporter::Mapper, ctx);
                return;
            }
        };
        self.board.lock().set_troubles(Reporter::Mapper, Vec::new());
        let complete = resolved.is_some();
        let forwards = resolved.as_ref().map(|r| r.forwards.as_slice());
        let desired = Arc::new(desired(&self.layout, forwards));
        if let Some(resolved) = &resolved {
            self.report_skipped(&resolved.skipped);
        }
        self.wanted = false;
        self.in_flight = true;
        let verify = std::mem::take(&mut self.verify);
        let heard = self.snapshot.is_some();
        let request = self.writer.send(Converge { desired, verify });
        ctx.spawn(request.into_actor(self).map(move |report, this, ctx| {
            this.in_flight = false;
            match report {
                Ok(report) => this.take_report(&report, heard && complete, verify, ctx),
                Err(_) => die(&this.log, "the firewall writer is gone"),
            }
        }));
    }

    /// `None` until Docker has been heard, or its silence has lasted too long.
    fn resolve(&self) -> std::io::Result<Option<Resolved>> {
        match &self.snapshot {
            None if self.grace_over => Ok(Some(Resolved::default())),
            None => Ok(None),
            Some(snapshot) => {
                let bounds = Bounds {
                    prefixes: self.layout.prefixes.clone(),
                    host_addrs: host::addresses()?,
                };
                Ok(Some(resolve(snapshot, &bounds)))
            }
        }
    }

    fn take_report(
        &mut self,
        report: &Report,
        heard: bool,
        verified: bool,
        ctx: &mut Context<Self>,
    ) {
        let complaints: Vec<String> = report.troubles.iter().map(chain).collect();
        let failed = !complaints.is_empty();
        if failed {
            self.verify |= verified;
        } else if verified {
            self.board.lock().resyncs += 1;
        }
        if heard
            && !failed
            && let Some(on_ready) = self.on_ready.take()
        {
            self.board.lock().ready = true;
            on_ready();
        }
        self.settle(complaints, Reporter::Firewall, ctx);
        self.pump(ctx);
    }

    /// Says what is wrong once, and tries again later.
    fn settle(&mut self, complaints: Vec<String>, reporter: Reporter, ctx: &mut Context<Self>) {
        if complaints.is_empty() {
            if !self.complaints.is_empty() {
                info!(self.log, "the firewall is in step again");
            }
            self.complaints.clear();
            self.backoff.reset();
            return;
        }
        for complaint in &complaints {
            if !self.complaints.contains(complaint) {
                error!(self.log, "degraded: {complaint}");
            }
        }
        if reporter == Reporter::Mapper {
            self.board.lock().set_troubles(reporter, complaints.clone());
        }
        self.complaints = complaints;
        // Not wanted before the pause is over: whoever pumps meanwhile has newer reasons.
        if self.retry.is_none() {
            let pause = self.backoff.wait();
            debug!(self.log, "trying again"; "in_ms" => pause.as_millis() as u64);
            self.retry = Some(ctx.run_later(pause, |this, ctx| {
                this.retry = None;
                this.want(ctx);
            }));
        }
    }

    /// Logs each reason once, for as long as it holds.
    fn report_skipped(&mut self, skipped: &[Skipped]) {
        let mut now = BTreeSet::new();
        for skip in skipped {
            let text = describe(skip);
            if !self.skipped.contains(&text) && !now.contains(&text) {
                if is_unexpected(&skip.reason) {
                    warn!(self.log, "not forwarded: {text}");
                } else {
                    debug!(self.log, "not forwarded: {text}");
                }
            }
            now.insert(text);
        }
        self.board.lock().skipped = now.iter().cloned().collect();
        self.skipped = now;
    }
}

fn describe(skip: &Skipped) -> String {
    let port = match skip.port {
        Some((proto, port)) => format!("port {port}/{proto} of "),
        None => String::new(),
    };
    let id: String = skip.container_id.chars().take(12).collect();
    let id = crate::model::text::Untrusted::new(id);
    format!(
        "{port}container {} ({id}): {}",
        skip.container_name, skip.reason
    )
}

/// What the operator does not expect; the rest is Docker's everyday.
fn is_unexpected(reason: &Reason) -> bool {
    match reason {
        Reason::Closed(Closed::NotRoutable(_) | Closed::Malformed(_))
        | Reason::Refused(..)
        | Reason::PortZero
        | Reason::TakenBy(_)
        | Reason::Unreadable(_) => true,
        Reason::Closed(Closed::BoundToV4(_) | Closed::BindingsUnknown)
        | Reason::NoOwnNetwork(_)
        | Reason::NoAddress(_) => false,
    }
}

impl Actor for PortMapper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        let grace = self.grace_ends.saturating_duration_since(Instant::now());
        ctx.run_later(grace.max(Duration::from_millis(1)), |this, ctx| {
            this.grace_over = true;
            if this.snapshot.is_some() {
                return;
            }
            this.want(ctx);
            if this.board.lock().forwards > 0 {
                warn!(
                    this.log,
                    "Docker has not confirmed the forwards of the earlier run in \
                    time; removing them until it does"
                );
                this.want(ctx);
            }
        });
        // The static rules do not wait for Docker.
        self.want(ctx);
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        if !self.stopping {
            die(&self.log, "the port mapper is gone");
        }
    }
}

impl Handler<SnapshotTaken> for PortMapper {
    type Result = ();

    fn handle(&mut self, SnapshotTaken(snapshot): SnapshotTaken, ctx: &mut Context<Self>) {
        if self.snapshot.is_none() {
            // The first complete list is compared with the kernel, not with our memory of it.
            self.verify = true;
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

impl Handler<Stop> for PortMapper {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        self.stopping = true;
        if let Some(retry) = self.retry.take() {
            ctx.cancel_future(retry);
        }
    }
}

#[cfg(test)]
mod tests;

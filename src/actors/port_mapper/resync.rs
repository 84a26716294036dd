//! Resyncs that the operator has asked for, by a signal or by `reload`.
//!
//! One is over once a list of Docker that was asked for later has been taken in, and a round has
//! compared the kernel since. It ends with a line in the log.

use std::fmt;
use std::time::Instant;

use actix::{Context, Handler, ResponseFuture};
use slog::{info, warn};
use tokio::sync::oneshot;

use super::PortMapper;
use super::resyncing::Resyncing;
use crate::actors::messages::{Reload, Resync, Resynced, Round};
use crate::control::resync::ResyncReason;

impl fmt::Display for Resynced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            inserted,
            removed,
            repaired,
        } = self;
        match inserted + removed {
            0 => write!(f, "nothing to do"),
            _ => write!(
                f,
                "{inserted} rules inserted, {removed} removed, {repaired} of them repaired"
            ),
        }
    }
}

impl PortMapper {
    fn begin_resync(&mut self, asked_at: Instant) -> &mut Resyncing {
        self.verify = Some(ResyncReason::Requested);
        let resyncing = self.resyncing.get_or_insert_with(|| Resyncing {
            asked_at,
            began: asked_at,
            compared: false,
            changed: Resynced::default(),
            waiting: Vec::new(),
        });
        resyncing.asked_at = asked_at;
        resyncing.compared = false;
        resyncing
    }

    /// Notes what a round has done for it. A round that was sent before the last request does not
    /// count as a comparison.
    pub(super) fn note_round(
        &mut self,
        round: &Round,
        verified: Option<ResyncReason>,
        sent_at: Instant,
        listed_at: Option<Instant>,
    ) {
        let Some(resyncing) = &mut self.resyncing else {
            return;
        };
        let report = &round.report;
        resyncing.changed.inserted += report.inserted;
        resyncing.changed.removed += report.removed;
        resyncing.changed.repaired += report.drift;
        let failures = round.troubles();
        let asked_at = resyncing.asked_at;
        let is_later = |at: Instant| at >= asked_at;
        if verified.is_some() && failures.is_empty() && is_later(sent_at) {
            resyncing.compared = true;
        }
        let has_listed = listed_at.is_some_and(is_later);
        let outcome = match failures.first() {
            // It goes on, but nobody is kept waiting for it.
            Some(failure) => Err(failure.clone()),
            None if resyncing.compared && has_listed && round.is_in_step() => Ok(resyncing.changed),
            None => return,
        };
        for waiting in resyncing.waiting.drain(..) {
            // Who has waited may be gone.
            let _ = waiting.send(outcome.clone());
        }
        if let Ok(changed) = outcome {
            let took = resyncing.began.elapsed();
            info!(self.log, "resync done: {changed}"; "took_ms" => took.as_millis() as u64);
            self.resyncing = None;
        }
    }

    /// The daemon is leaving.
    pub(super) fn give_up_resync(&mut self) {
        if self.resyncing.take().is_some() {
            warn!(self.log, "resync not ended: the daemon is leaving");
        }
    }
}

impl Handler<Resync> for PortMapper {
    type Result = ();

    fn handle(&mut self, Resync { asked_at }: Resync, ctx: &mut Context<Self>) {
        self.begin_resync(asked_at);
        self.want(ctx);
    }
}

impl Handler<Reload> for PortMapper {
    type Result = ResponseFuture<Result<Resynced, String>>;

    fn handle(&mut self, Reload { asked_at }: Reload, ctx: &mut Context<Self>) -> Self::Result {
        let (sender, outcome) = oneshot::channel();
        self.begin_resync(asked_at).waiting.push(sender);
        self.want(ctx);
        let given_up = "the daemon is leaving";
        Box::pin(async move { outcome.await.unwrap_or_else(|_| Err(given_up.to_owned())) })
    }
}

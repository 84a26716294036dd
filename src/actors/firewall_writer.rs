//! The firewall writer: the only actor that changes the kernel.
//!
//! It runs in a thread of its own, which is also the thread that starts tools: they die with
//! it, and it lives as long as the process. A crash at any point leaves what
//! [`crate::reconcile`] promises.

use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, Addr, Handler, MailboxError, Message, SyncContext};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use slog::{Logger, debug};
use tokio::runtime::Handle;

use super::journal::JournalActor;
use super::messages::{Commit, Converge, Forget, Intend, Leave, Ping, Recover, Removing};
use crate::backend::BackendError;
use crate::control::status::{Board, Native, Reporter};
use crate::journal::record::Record;
use crate::journal::{Journal, JournalError};
use crate::model::rule::{RuleId, RuleSpec};
use crate::reconcile::standby::Sighting;
use crate::reconcile::{Reconciler, Report, Trouble};
use crate::sys::causes::chain;
use crate::sys::failpoint;
use crate::sys::progress::{self, Worker};

/// How long the writer waits for the journal. A disk that takes longer is not going to answer
/// soon, and removals must not wait for it.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(5);

/// Records in one request: the database's memory stays that of a small batch.
const AT_ONCE: usize = 500;

/// What each further request of a call adds to the call's patience.
const PATIENCE_EACH: Duration = Duration::from_millis(200);

/// The actor. See the module's documentation.
pub struct FirewallWriter {
    reconciler: Reconciler<JournalClient>,
    board: Board,
    log: Logger,
    clock: fn() -> u64,
}

impl FirewallWriter {
    /// A writer around a reconciler that has not recovered yet. `clock` tells seconds since
    /// the epoch.
    pub fn new(
        reconciler: Reconciler<JournalClient>,
        board: Board,
        log: Logger,
        clock: fn() -> u64,
    ) -> Self {
        Self {
            reconciler,
            board,
            log,
            clock,
        }
    }

    fn publish(&self, report: &Report, began: Instant) {
        let (mut rules, mut hosts) = (0, std::collections::BTreeSet::new());
        for record in self.reconciler.records() {
            rules += 1;
            if let RuleSpec::Dnat(dnat) = &record.owned.rule.spec {
                hosts.insert((dnat.key.proto, dnat.key.host_addr, dnat.key.host_port));
            }
        }
        let mut facts = self.board.lock();
        facts.rules = rules;
        facts.forwards = hosts.len();
        facts.drift_repairs += report.drift as u64;
        let (journal, firewall): (Vec<_>, Vec<_>) = report
            .troubles
            .iter()
            .partition(|t| matches!(t, Trouble::Journal(_)));
        facts.set_troubles(Reporter::Journal, journal.into_iter().map(chain).collect());
        facts.set_troubles(
            Reporter::Firewall,
            firewall.into_iter().map(chain).collect(),
        );
        let sighting = self.reconciler.sighting();
        let native = sighting.map(Sighting::problems).unwrap_or_default();
        facts.set_problems(Reporter::Native, native);
        let all_the_same = sighting.map(|seen| seen.audit.served_all_the_same.clone());
        facts.served_all_the_same = all_the_same.unwrap_or_default();
        facts.native = sighting.map(Native::of);
        drop(facts);
        debug!(self.log, "round done"; "inserted" => report.inserted, "removed" => report.removed,
            "drift" => report.drift, "troubles" => report.troubles.len(),
            "took_us" => began.elapsed().as_micros() as u64);
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
        self.publish(&report, began);
        actix::MessageResult(report)
    }
}

impl Handler<Converge> for FirewallWriter {
    type Result = actix::MessageResult<Converge>;

    fn handle(&mut self, message: Converge, _: &mut SyncContext<Self>) -> Self::Result {
        failpoint::panic("a round begins");
        let began = Instant::now();
        if message.verify {
            self.reconciler.doubt();
        }
        let desired = self.reconciler.compile(&message.intent);
        let report = self.reconciler.converge(&desired, (self.clock)());
        self.publish(&report, began);
        actix::MessageResult(report)
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

/// The journal as the writer sees it: messages to the journal actor, each waited for, but not
/// for ever.
pub struct JournalClient {
    journal: Addr<JournalActor>,
    runtime: Handle,
    /// A request that was given up. Until it is answered the journal gets no other.
    unanswered: Option<BoxFuture<'static, ()>>,
}

impl JournalClient {
    /// A client that waits on `runtime`'s clock.
    pub fn new(journal: Addr<JournalActor>, runtime: Handle) -> Self {
        Self {
            journal,
            runtime,
            unanswered: None,
        }
    }

    /// One call in requests of [`AT_ONCE`] items.
    fn ask_in_parts<T, M>(
        &mut self,
        operation: &str,
        items: &[T],
        message: impl Fn(Vec<T>) -> M,
    ) -> Result<(), JournalError>
    where
        T: Clone,
        M: Message<Result = Result<(), JournalError>> + Send + 'static,
        JournalActor: Handler<M>,
    {
        let operation = format!("{operation} {} records", items.len());
        let further = u32::try_from(items.len() / AT_ONCE).unwrap_or(u32::MAX);
        let deadline = Instant::now() + JOURNAL_PATIENCE + PATIENCE_EACH * further;
        for some in items.chunks(AT_ONCE) {
            self.ask(&operation, message(some.to_vec()), deadline)?;
            progress::made(Worker::Writer);
        }
        Ok(())
    }

    fn ask<M>(&mut self, operation: &str, message: M, deadline: Instant) -> Result<(), JournalError>
    where
        M: Message<Result = Result<(), JournalError>> + Send + 'static,
        JournalActor: Handler<M>,
    {
        let error = |detail: String| JournalError {
            operation: operation.to_owned(),
            detail,
        };
        if let Some(earlier) = &mut self.unanswered {
            if earlier.now_or_never().is_none() {
                return Err(error("an earlier request has not been answered".to_owned()));
            }
            self.unanswered = None;
        }
        let mut request = Box::pin(self.journal.send(message));
        let left = deadline.saturating_duration_since(Instant::now());
        let patience = async { tokio::time::timeout(left, &mut request).await };
        match self.runtime.block_on(patience) {
            Ok(Ok(result)) => result,
            Ok(Err(MailboxError::Closed | MailboxError::Timeout)) => {
                Err(error("the journal has stopped".to_owned()))
            }
            Err(_) => {
                self.unanswered = Some(request.map(|_| ()).boxed());
                Err(error(format!("no answer within {} s", left.as_secs())))
            }
        }
    }
}

impl Journal for JournalClient {
    fn intend(&mut self, records: &[Record]) -> Result<(), JournalError> {
        self.ask_in_parts("recording the intents of", records, Intend)
    }

    fn commit(&mut self, ids: &[RuleId]) -> Result<(), JournalError> {
        self.ask_in_parts("committing", ids, Commit)
    }

    /// Does not wait: a removal follows, and must not wait for the disk.
    fn removing(&mut self, ids: &[RuleId]) -> Result<(), JournalError> {
        if self.unanswered.is_none() {
            for some in ids.chunks(AT_ONCE) {
                self.journal.do_send(Removing(some.to_vec()));
            }
        }
        Ok(())
    }

    fn forget(&mut self, ids: &[RuleId]) -> Result<(), JournalError> {
        self.ask_in_parts("forgetting", ids, Forget)
    }
}

//! The writer's side of the journal actor. No task runs here: a call blocks the writer's thread.

use std::time::{Duration, Instant};

use actix::{Addr, Handler, MailboxError, Message};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use crate::actors::journal::JournalActor;
use crate::actors::messages::{Commit, Forget, Intend, Removing};
use crate::journal::record::Record;
use crate::journal::{Journal, JournalError};
use crate::model::rule::RuleId;
use crate::sys::progress::{self, Worker};

/// How long the writer waits for the journal. A disk that takes longer will not answer soon, and
/// removals must not wait for it.
pub(super) const JOURNAL_PATIENCE: Duration = Duration::from_secs(5);

/// Records in one request, so that the database needs memory only for a small batch.
const AT_ONCE: usize = 500;

/// What each further request of a call adds to the call's patience.
const PATIENCE_EACH: Duration = Duration::from_millis(200);

/// The journal as the writer uses it: sends messages to the journal actor and waits a limited time
/// for each answer.
pub(crate) struct JournalClient {
    journal: Addr<JournalActor>,
    runtime: Handle,
    /// A request whose answer came too late. The client sends no other before it is answered.
    unanswered: Option<BoxFuture<'static, ()>>,
}

impl JournalClient {
    /// A client that waits on `runtime`'s clock.
    pub(crate) fn new(journal: Addr<JournalActor>, runtime: Handle) -> Self {
        Self {
            journal,
            runtime,
            unanswered: None,
        }
    }

    /// Sends the items in requests of [`AT_ONCE`] each, under one deadline. `message` is also told which
    /// is the last.
    fn ask_in_parts<T, M>(
        &mut self,
        operation: &str,
        items: &[T],
        message: impl Fn(Vec<T>, bool) -> M,
    ) -> Result<(), JournalError>
    where
        T: Clone,
        M: Message<Result = Result<(), JournalError>> + Send + 'static,
        JournalActor: Handler<M>,
    {
        let operation = format!("{operation} {} records", items.len());
        let further = u32::try_from(items.len() / AT_ONCE).unwrap_or(u32::MAX);
        let deadline = Instant::now() + JOURNAL_PATIENCE + PATIENCE_EACH * further;
        let last = items.len().div_ceil(AT_ONCE);
        for (number, part) in (1..).zip(items.chunks(AT_ONCE)) {
            let message = message(part.to_vec(), number == last);
            self.ask(&operation, message, deadline)?;
            progress::made(Worker::Writer);
        }
        Ok(())
    }

    pub(super) fn ask<M, T>(
        &mut self,
        operation: &str,
        message: M,
        deadline: Instant,
    ) -> Result<T, JournalError>
    where
        M: Message<Result = Result<T, JournalError>> + Send + 'static,
        T: Send + 'static,
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
        self.ask_in_parts("recording the intents of", records, |records, is_last| {
            Intend { records, is_last }
        })
    }

    fn commit(&mut self, ids: &[RuleId]) -> Result<(), JournalError> {
        self.ask_in_parts("committing", ids, |ids, _| Commit(ids))
    }

    /// Does not wait for the answer: the removal that follows must not wait for the disk.
    fn removing(&mut self, ids: &[RuleId]) -> Result<(), JournalError> {
        if self.unanswered.is_none() {
            for part in ids.chunks(AT_ONCE) {
                self.journal.do_send(Removing(part.to_vec()));
            }
        }
        Ok(())
    }

    fn forget(&mut self, ids: &[RuleId]) -> Result<(), JournalError> {
        self.ask_in_parts("forgetting", ids, |ids, _| Forget(ids))
    }
}

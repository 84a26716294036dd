//! The writer's side of the journal actor. No task runs here: a call blocks the writer's thread.

use std::time::{Duration, Instant};

use actix::{Addr, Handler, MailboxError, Message};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use crate::actors::journal::JournalActor;
use crate::actors::messages::{Commit, Forget, Intend, Removing, StateChange};
use crate::control::board::StatusBoard;
use crate::journal::history::cause::Cause;
use crate::journal::record::Record;
use crate::journal::{Journal, JournalError};
use crate::model::rule::RuleId;
use crate::sys::progress::{self, Worker};

/// How long the writer waits for the journal. A disk that takes longer will not answer soon, and
/// removals must not wait for it.
pub(super) const JOURNAL_PATIENCE: Duration = Duration::from_secs(5);

/// Records in one request of an intent: the database needs memory for their values, some 800 KiB.
const AT_ONCE: usize = 2_000;

/// What so many further records of a call add to the call's patience.
const PATIENCE_EACH: (usize, Duration) = (500, Duration::from_millis(200));

/// The journal as the writer uses it: sends messages to the journal actor and waits a limited time
/// for each answer.
pub(crate) struct JournalClient {
    journal: Addr<JournalActor>,
    runtime: Handle,
    /// It shows what the writer is doing.
    board: StatusBoard,
    /// A request whose answer came too late. The client sends no other before it is answered.
    unanswered: Option<BoxFuture<'static, ()>>,
}

impl JournalClient {
    /// A client that waits on `runtime`'s clock.
    pub(crate) fn new(journal: Addr<JournalActor>, runtime: Handle, board: StatusBoard) -> Self {
        Self {
            journal,
            runtime,
            board,
            unanswered: None,
        }
    }

    /// Asks for a step of records: all in one request, for the journal only notes what very many become.
    fn step<M>(
        &mut self,
        operation: &str,
        ids: &[RuleId],
        message: impl Fn(StateChange) -> M,
    ) -> Result<(), JournalError>
    where
        M: Message<Result = Result<(), JournalError>> + Send + 'static,
        JournalActor: Handler<M>,
    {
        if ids.is_empty() {
            return Ok(());
        }
        let operation = format!("{operation} {} records", ids.len());
        let step = self.step_of(ids);
        self.ask(&operation, message(step), deadline(ids.len()))?;
        progress::made(Worker::Writer);
        Ok(())
    }

    fn cause(&self) -> Cause {
        self.board.lock().cause.clone()
    }

    fn step_of(&self, ids: &[RuleId]) -> StateChange {
        StateChange {
            ids: ids.to_vec(),
            cause: self.cause(),
        }
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

/// When a call for so many records must have been answered.
fn deadline(records: usize) -> Instant {
    let (each, patience) = PATIENCE_EACH;
    let further = u32::try_from(records / each).unwrap_or(u32::MAX);
    Instant::now() + JOURNAL_PATIENCE + patience * further
}

impl Journal for JournalClient {
    /// In requests of [`AT_ONCE`], under one deadline. In the order of the database's keys: neighbours
    /// share a page, which is then read and written once.
    fn intend(&mut self, records: &[Record]) -> Result<(), JournalError> {
        let operation = format!("recording the intents of {} records", records.len());
        let deadline = deadline(records.len());
        let mut sorted: Vec<&Record> = records.iter().collect();
        sorted.sort_by_key(|record| record.id());
        let last = sorted.len().div_ceil(AT_ONCE);
        for (number, part) in (1..).zip(sorted.chunks(AT_ONCE)) {
            let intend = Intend {
                records: part.iter().copied().cloned().collect(),
                is_last: number == last,
                cause: self.cause(),
            };
            self.ask(&operation, intend, deadline)?;
            progress::made(Worker::Writer);
        }
        Ok(())
    }

    fn commit(&mut self, ids: &[RuleId]) -> Result<(), JournalError> {
        self.step("committing", ids, Commit)
    }

    /// Does not wait for the answer: the removal that follows must not wait for the disk.
    fn removing(&mut self, ids: &[RuleId]) -> Result<(), JournalError> {
        if self.unanswered.is_none() {
            self.journal.do_send(Removing(self.step_of(ids)));
        }
        Ok(())
    }

    fn forget(&mut self, ids: &[RuleId]) -> Result<(), JournalError> {
        self.step("forgetting", ids, Forget)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, mpsc};

    use actix::{SyncArbiter, System};
    use slog::{Discard, Logger, o};

    use super::*;
    use crate::actors::journal::HeldStateDir;
    use crate::actors::messages::ReadHistory;
    use crate::journal::history::closing::EndReason;
    use crate::journal::history::past::Past;
    use crate::journal::recover;
    use crate::journal::testing::{ids, records, started};
    use crate::sys::locks::{Holder, Lock};

    #[test]
    fn an_end_has_the_cause_of_its_request_however_late_the_journal_takes_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let board = StatusBoard::new(Instant::now(), "fake".to_owned());
        let mut store = recover::open(dir.path(), started())
            .expect("a journal")
            .store;
        store.intend(&records(80..=80)).expect("intended");
        store.commit(&ids(80..=80)).expect("committed");
        let holder = Holder {
            pid: std::process::id(),
            control: None,
        };
        let lock = Lock::acquire(&dir.path().join("lock"), &holder, Instant::now());
        let state_dir = HeldStateDir {
            dir: dir.path().to_owned(),
            lock: Arc::new(lock.expect("a lock")),
        };
        let log = Logger::root(Discard, o!());
        let actor = JournalActor::new(store, state_dir, board.clone(), log);
        let (release, released) = mpsc::channel::<()>();
        let actor = Mutex::new(Some((actor, released)));

        let page = System::new().block_on(async move {
            // It takes no request until it is released.
            let journal = SyncArbiter::start(1, move || {
                let (actor, released) = actor.lock().expect("lock").take().expect("one thread");
                released.recv().expect("it is released");
                actor
            });
            let mut client = JournalClient::new(journal, Handle::current(), board.clone());
            let asking = tokio::task::spawn_blocking(move || {
                board.lock().cause = Cause::Leaving;
                let forget = Forget(client.step_of(&ids(80..=80)));
                client
                    .ask("forgetting", forget, Instant::now())
                    .expect_err("too late");
                board.lock().cause = Cause::Unknown;
                release.send(()).expect("it waits");
                let journal = client.journal.clone();
                client
                    .runtime
                    .block_on(journal.send(ReadHistory { after: 0 }))
            });
            asking.await.expect("it ends")
        });

        let page = page.expect("an answer").expect("a page");
        let past = Past::read(&page.stored().expect("a history"));
        let reasons: Vec<EndReason> = past.closings.iter().map(|(_, it)| it.reason).collect();
        assert_eq!(reasons, [EndReason::DaemonLeft]);
    }
}

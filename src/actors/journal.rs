//! The journal actor: the only one that touches the database.
//!
//! It runs in a thread of its own, because the disk may block. For what a crash at any point leaves
//! behind see [`crate::journal::store`].
//!
//! The state directory may be removed, or another disk mounted over it, while the daemon runs.
//! Before each change, and at each ping of the watchdog, the actor checks that its lock is in place,
//! and takes it again if it is gone. Only then does it rebuild the journal: the holder of the lock
//! owns the directory's content.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, Handler, SyncContext};
use slog::{Logger, debug, warn};

use super::messages::{Close, Commit, Dump, Forget, Intend, Ping, ReadHistory, Removing};
use crate::control::board::{Reporter, StatusBoard};
use crate::control::history::{HistoryPage, log_newest};
use crate::control::row::Row;
use crate::control::server::Page;
use crate::control::status::JournalFigures;
use crate::journal::history::cause::Cause;
use crate::journal::history::chain::Link;
use crate::journal::record::Record;
use crate::journal::recover;
use crate::journal::store::Store;
use crate::journal::{Journal, JournalError};
use crate::model::problem::ProblemId;
use crate::sys::causes::chain;
use crate::sys::failpoint;
use crate::sys::host;
use crate::sys::locks::Lock;
use crate::sys::progress::{self, Worker};

/// How many records of a dump are in memory at once: some hundred kilobytes, and a change does not
/// wait long for them.
const RECORDS_AT_ONCE: usize = 500;

/// How often the newest seal of the history is logged, besides at a clean end.
const HEAD_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Remembers which seal of the history was logged.
struct HeadLog {
    last: Link,
    since: Instant,
}

impl HeadLog {
    fn new(now: Instant) -> Self {
        let last = Link::default();
        Self { last, since: now }
    }

    /// Whether this seal is to be logged now, which is then done.
    fn is_due(&mut self, head: &Link, now: Instant) -> bool {
        let is_due = *head != self.last && now.duration_since(self.since) >= HEAD_INTERVAL;
        if is_due {
            *self = Self {
                last: *head,
                since: now,
            };
        }
        is_due
    }
}

/// The state directory, held by its lock.
pub struct HeldStateDir {
    /// The directory.
    pub dir: PathBuf,
    /// Its lock.
    pub lock: Arc<Lock>,
}

impl HeldStateDir {
    /// Makes sure that the directory exists and its lock is ours. Returns whether the lock had to be
    /// taken again.
    fn renew(&self) -> Result<bool, JournalError> {
        if self.lock.is_in_place() {
            return Ok(false);
        }
        let failed = |detail| JournalError {
            operation: "taking the state directory again".to_owned(),
            detail,
        };
        recover::prepare_dir(&self.dir).map_err(|e| failed(chain(&e)))?;
        self.lock.renew().map_err(|e| failed(chain(&e)))?;
        Ok(true)
    }
}

/// The actor. See the module's documentation.
pub(crate) struct JournalActor {
    /// `None` once closed.
    store: Option<Store>,
    state_dir: HeldStateDir,
    head_log: HeadLog,
    board: StatusBoard,
    log: Logger,
}

impl JournalActor {
    /// A journal with an open store in `state_dir`.
    pub(crate) fn new(
        store: Store,
        state_dir: HeldStateDir,
        board: StatusBoard,
        log: Logger,
    ) -> Self {
        Self {
            store: Some(store),
            state_dir,
            head_log: HeadLog::new(Instant::now()),
            board,
            log,
        }
    }

    /// Changes the store, after making sure that the state directory is ours.
    fn change(
        &mut self,
        what: &str,
        f: impl FnOnce(&mut Store) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let renewed = self.state_dir.renew()?;
        if renewed {
            let dir = self.state_dir.dir.display().to_string();
            warn!(self.log, "the state directory was removed or replaced, taking it again";
                "dir" => dir);
        }
        let changed = self.with(what, f);
        // A refusal is progress too.
        progress::made(Worker::Journal);
        changed
    }

    /// As [`JournalActor::change`], for what goes to the disk; measures how long that takes.
    fn write(
        &mut self,
        what: &str,
        cause: Cause,
        f: impl FnOnce(&mut Store) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let began = Instant::now();
        let written = self.attribute(what, cause, f);
        let took = began.elapsed();
        self.board.lock().measured.journal_sync.observe(took);
        written
    }

    /// As [`JournalActor::change`], with the reason why forwards end by it.
    fn attribute(
        &mut self,
        what: &str,
        cause: Cause,
        f: impl FnOnce(&mut Store) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let now = host::now();
        self.change(what, |store| {
            store.because(cause, now);
            let written = f(store);
            // A cause may hold the forwards of tens of thousands of ports.
            store.because(Cause::Unknown, now);
            written
        })
    }

    /// Runs `f` on the store, and reports the journal's figures afterwards.
    fn with<T>(
        &mut self,
        what: &str,
        f: impl FnOnce(&mut Store) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        failpoint::panic("the journal is asked");
        let Some(store) = &mut self.store else {
            return Err(JournalError {
                operation: what.to_owned(),
                detail: "the journal is closed".to_owned(),
            });
        };
        let result = f(store);
        for loss in store.take_losses() {
            warn!(self.log, "history: {loss}");
        }
        self.board.lock().figures.journal = JournalFigures {
            records: store.len(),
            generation: store.generation(),
        };
        if let Err(error) = &result {
            debug!(self.log, "{what} failed"; "reason" => %error);
        }
        result
    }
}

impl Actor for JournalActor {
    type Context = SyncContext<Self>;

    fn started(&mut self, _: &mut SyncContext<Self>) {
        // This reports the first figures. It cannot fail: the store is still open.
        let _ = self.with("start", |_| Ok(()));
    }
}

impl Handler<Intend> for JournalActor {
    type Result = Result<(), JournalError>;

    fn handle(&mut self, message: Intend, _: &mut SyncContext<Self>) -> Self::Result {
        let Intend {
            records,
            is_last,
            cause,
        } = message;
        self.write("intent", cause, |store| match is_last {
            true => store.intend(&records),
            false => store.intend_in_part(&records),
        })
    }
}

impl Handler<Commit> for JournalActor {
    type Result = Result<(), JournalError>;

    fn handle(&mut self, Commit(step): Commit, _: &mut SyncContext<Self>) -> Self::Result {
        self.write("commit", step.cause, |store| store.commit(&step.ids))
    }
}

impl Handler<Removing> for JournalActor {
    type Result = Result<(), JournalError>;

    fn handle(&mut self, Removing(step): Removing, _: &mut SyncContext<Self>) -> Self::Result {
        self.write("marking", step.cause, |store| store.removing(&step.ids))
    }
}

impl Handler<Forget> for JournalActor {
    type Result = Result<(), JournalError>;

    fn handle(&mut self, Forget(step): Forget, _: &mut SyncContext<Self>) -> Self::Result {
        self.write("forgetting", step.cause, |store| store.forget(&step.ids))
    }
}

impl Handler<Dump> for JournalActor {
    type Result = Result<Page, JournalError>;

    fn handle(&mut self, Dump { after }: Dump, _: &mut SyncContext<Self>) -> Self::Result {
        let records = self.with("dump", |store| {
            Ok(store.records_after(after, RECORDS_AT_ONCE))
        })?;
        let is_full = records.len() == RECORDS_AT_ONCE;
        let next = records.last().map(Record::id).filter(|_| is_full);
        let mut rows: Vec<Row> = records.iter().flat_map(Row::of).collect();
        if next.is_none() {
            rows.extend(self.board.lock().malformed.iter().cloned());
        }
        Ok(Page { rows, next })
    }
}

impl Handler<ReadHistory> for JournalActor {
    type Result = Result<HistoryPage, JournalError>;

    fn handle(&mut self, message: ReadHistory, _: &mut SyncContext<Self>) -> Self::Result {
        let page = self.with("history", |store| store.history_after(message.after))?;
        Ok(page.into())
    }
}

impl Handler<Close> for JournalActor {
    type Result = Result<(), JournalError>;

    fn handle(&mut self, _: Close, _: &mut SyncContext<Self>) -> Self::Result {
        let Some(store) = self.store.take() else {
            return Ok(());
        };
        let newest = store.history_head();
        store.close()?;
        if newest.number > 0 {
            log_newest(&self.log, &newest);
        }
        Ok(())
    }
}

impl Handler<Ping> for JournalActor {
    type Result = ();

    fn handle(&mut self, _: Ping, ctx: &mut SyncContext<Self>) {
        if failpoint::stops("journal") {
            ctx.stop();
        }
        if self.store.is_none() {
            return;
        }
        let cause = self.board.lock().cause.clone();
        let what = "keeping the journal in its place";
        let mut kept = self.attribute(what, cause.clone(), Store::keep_in_place);
        if kept.is_ok() && self.store.as_ref().is_some_and(Store::is_unsure) {
            kept = self.attribute("correcting the history", cause, Store::correct_history);
        }
        let troubles = kept.err().as_ref().map(chain).into_iter().collect();
        let bytes = self.store.as_ref().map_or(0, Store::size);
        let head = self.store.as_ref().map(Store::history_head);
        if let Some(head) = head.filter(|head| self.head_log.is_due(head, Instant::now())) {
            log_newest(&self.log, &head);
        }
        let mut reports = self.board.lock();
        reports.measured.journal_bytes = bytes;
        reports.set_sentences(Reporter::StateDir, ProblemId::StateDir, troubles);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_seal_is_logged_once_an_hour() {
        let began = Instant::now();
        let mut log = HeadLog::new(began);
        let [none, one, two] = [0, 1, 2].map(|number| Link {
            number,
            ..Link::default()
        });
        let steps = [
            (&none, HEAD_INTERVAL, false),
            (&one, HEAD_INTERVAL / 2, false),
            (&one, HEAD_INTERVAL, true),
            (&one, HEAD_INTERVAL * 3, false),
            (&two, HEAD_INTERVAL * 3, true),
            (&one, HEAD_INTERVAL * 3, false),
        ];
        for (head, after, is_due) in steps {
            assert_eq!(
                log.is_due(head, began + after),
                is_due,
                "{head:?} {after:?}"
            );
        }
    }
}

//! The journal actor: the only one that touches the database.
//!
//! It runs in a thread of its own, for the disk may block. A crash at any point leaves what
//! [`crate::journal::store`] promises.

use actix::{Actor, ActorContext, Handler, SyncContext};
use slog::{Logger, debug};

use super::messages::{Close, Commit, Dump, Forget, Intend, Ping, Removing};
use crate::control::status::Board;
use crate::journal::record::Record;
use crate::journal::store::Store;
use crate::journal::{Journal, JournalError};
use crate::killpoint;

/// The actor. See the module's documentation.
pub struct JournalActor {
    /// `None` once closed.
    store: Option<Store>,
    board: Board,
    log: Logger,
}

impl JournalActor {
    /// A journal around an open store.
    pub fn new(store: Store, board: Board, log: Logger) -> Self {
        Self {
            store: Some(store),
            board,
            log,
        }
    }

    /// Does something with the store, and publishes how it stands afterwards.
    fn with<T>(
        &mut self,
        what: &str,
        f: impl FnOnce(&mut Store) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        killpoint::pass("the journal is asked");
        let Some(store) = &mut self.store else {
            return Err(JournalError {
                operation: what.to_owned(),
                detail: "the journal is closed".to_owned(),
            });
        };
        let result = f(store);
        let mut facts = self.board.lock();
        facts.journal.generation = store.generation();
        facts.journal.records = store.len();
        drop(facts);
        if let Err(error) = &result {
            debug!(self.log, "{what} failed"; "reason" => %error);
        }
        result
    }
}

impl Actor for JournalActor {
    type Context = SyncContext<Self>;

    fn started(&mut self, _: &mut SyncContext<Self>) {
        // A closed store says so at the first request; none comes before this.
        let _ = self.with("start", |_| Ok(()));
    }
}

impl Handler<Intend> for JournalActor {
    type Result = Result<(), JournalError>;

    fn handle(&mut self, Intend(records): Intend, _: &mut SyncContext<Self>) -> Self::Result {
        self.with("intent", |store| store.intend(&records))
    }
}

impl Handler<Commit> for JournalActor {
    type Result = Result<(), JournalError>;

    fn handle(&mut self, Commit(ids): Commit, _: &mut SyncContext<Self>) -> Self::Result {
        self.with("commit", |store| store.commit(&ids))
    }
}

impl Handler<Removing> for JournalActor {
    type Result = Result<(), JournalError>;

    fn handle(&mut self, Removing(ids): Removing, _: &mut SyncContext<Self>) -> Self::Result {
        self.with("marking", |store| store.removing(&ids))
    }
}

impl Handler<Forget> for JournalActor {
    type Result = Result<(), JournalError>;

    fn handle(&mut self, Forget(ids): Forget, _: &mut SyncContext<Self>) -> Self::Result {
        self.with("forgetting", |store| store.forget(&ids))
    }
}

impl Handler<Dump> for JournalActor {
    type Result = Result<Vec<Record>, JournalError>;

    fn handle(&mut self, _: Dump, _: &mut SyncContext<Self>) -> Self::Result {
        self.with("dump", |store| Ok(store.records()))
    }
}

impl Handler<Close> for JournalActor {
    type Result = Result<(), JournalError>;

    fn handle(&mut self, _: Close, _: &mut SyncContext<Self>) -> Self::Result {
        self.store.take().map_or(Ok(()), Store::close)
    }
}

impl Handler<Ping> for JournalActor {
    type Result = ();

    fn handle(&mut self, _: Ping, ctx: &mut SyncContext<Self>) {
        if killpoint::ends("journal") {
            ctx.stop();
        }
    }
}

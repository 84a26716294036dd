//! Gets the history and what is open, from the running daemon or from a copy of the journal.

use std::path::Path;

use crate::cli::args::DaemonArgs;
use crate::cli::ask::{ask_daemon, wrong_answer};
use crate::cli::failure::{Exit, Failure};
use crate::control::protocol::{Answer, Request};
use crate::control::row::Row;
use crate::journal::history::past::StoredHistory;
use crate::journal::recover::{OpenError, Snapshot, snapshot_copy};
use crate::sys::locks::{self, Lock, LockError};

/// How often the pages are read from the beginning because their first entries were cut off meanwhile.
const ATTEMPTS: usize = 5;

/// What the daemon or a copy of the journal says.
pub(super) struct Fetched {
    /// The history.
    pub(super) stored: StoredHistory,
    /// The journal. What is closed while both are read is in both.
    pub(super) rows: Vec<Row>,
    /// The newest entry that was there before the rows were read.
    pub(super) before: u64,
}

/// Asks the daemon, or reads a copy where there is none.
pub(super) fn fetch(daemon: &DaemonArgs) -> Result<Fetched, Failure> {
    loop {
        // No entry has such a number.
        if let Some(none) = page(daemon, u64::MAX)?
            && let Some(rows) = rows(daemon)?
            && let Some(stored) = from_daemon(daemon)?
        {
            let before = none.head.number;
            return Ok(Fetched {
                stored,
                rows,
                before,
            });
        }
        // A daemon may start at this moment; then it is asked.
        if let Some(copy) = from_copy(&daemon.state.state_dir)? {
            return Ok(Fetched {
                before: copy.history.head.number,
                rows: copy.records.iter().flat_map(Row::of).collect(),
                stored: copy.history,
            });
        }
    }
}

/// The journal; `None`: there is no daemon.
fn rows(daemon: &DaemonArgs) -> Result<Option<Vec<Row>>, Failure> {
    match ask_daemon(daemon, Request::Dump)? {
        Some(Answer::Dump(rows)) => Ok(Some(rows)),
        Some(_) => Err(wrong_answer()),
        None => Ok(None),
    }
}

/// The entries behind this one, as many as the daemon gives at once; `None`: there is no daemon.
fn page(daemon: &DaemonArgs, after: u64) -> Result<Option<StoredHistory>, Failure> {
    match ask_daemon(daemon, Request::History { after })? {
        Some(Answer::History(page)) => page.stored().ok_or_else(wrong_answer).map(Some),
        Some(_) => Err(wrong_answer()),
        None => Ok(None),
    }
}

/// `None`: there is no daemon any more.
fn from_daemon(daemon: &DaemonArgs) -> Result<Option<StoredHistory>, Failure> {
    for _ in 0..ATTEMPTS {
        let mut stored: Option<StoredHistory> = None;
        loop {
            let entries = stored.as_ref().map(|stored| &stored.entries);
            let after = entries.and_then(|entries| entries.last());
            let after = after.map_or(0, |(number, _)| *number);
            let Some(page) = page(daemon, after)? else {
                return Ok(None);
            };
            // Entries were cut off that have not been read.
            if stored.is_some() && page.anchor.number > after {
                break;
            }
            let is_last = page.entries.is_empty();
            let whole = stored.get_or_insert_with(|| StoredHistory {
                entries: Vec::new(),
                ..page
            });
            whole.head = page.head;
            whole.entries.extend(page.entries);
            if is_last {
                return Ok(stored);
            }
        }
    }
    let message = "the history is cut faster than it can be read; try again";
    Err(Failure::new(Exit::Failed, message))
}

/// Reads a copy under the state directory's lock; `None` if a daemon has taken it meanwhile.
pub(in crate::cli) fn from_copy(state_dir: &Path) -> Result<Option<Snapshot>, Failure> {
    if !state_dir.is_dir() {
        return Err(OpenError::Missing(state_dir.to_owned()).into());
    }
    let _lock = match Lock::for_reading(&locks::state_path(state_dir)) {
        Ok(lock) => lock,
        Err(LockError::Held { .. }) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    Ok(Some(snapshot_copy(state_dir, &std::env::temp_dir())?))
}

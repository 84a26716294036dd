//! The journal's records, kept in sled.
//!
//! The store owns the database and a copy of every acknowledged record in memory. Each change is one
//! batch that includes the new sentinel:
//!
//! ```text
//!   intend, its last part       batch ─▶ flush ─▶ fsync ─▶ acknowledged   (survives a power cut)
//!   intend, parts before that   batch ─▶ flush ──────────▶ acknowledged   (survives a crash of the daemon)
//!   commit, removing, forget    batch ─▶ flush ──────────▶ acknowledged   (survives a crash of the daemon)
//! ```
//!
//! A commit, removal or end of many records at once does not write each of them anew, but notes what
//! they have become ([`states`]), in the same batch.
//!
//! After any failure the store closes the database for good: sled stays broken after an error, and a
//! page whose fsync failed may be lost although the kernel calls it clean. The next change first
//! builds a new database from the records in memory and replaces the old one, which stays until then.
//! So the journal recovers from a full disk without a restart, and no acknowledged record is lost. If
//! the disk has no room for both, the old database is removed first ([`build`]).
//!
//! After a crash at any point [`super::recover`] finds either all of a change or nothing of it.

mod build;
mod database;
mod history;
mod queries;
mod shrink;
mod states;
mod trees;
mod writing;

use std::time::SystemTime;

pub(super) use self::build::{build, fill_in_place, refusal};
use self::build::{content, fill_beside, size};
pub(super) use self::database::{Database, DatabaseError};
use self::history::History;
pub(super) use self::history::{ends, stored};
use self::shrink::{MOST_GONE, free_garbage, has_outgrown, slack_of};
pub(super) use self::states::{LaterStates, ReadError};
#[cfg(test)]
pub(super) use self::trees::Changes;
use super::error::OpenError;
use super::history::cause::Cause;
use super::history::chain::Ends;
use super::history::closing::Loss;
use super::layout::{self, StateDir};
use super::marker::Marker;
use super::record::{Record, RecordEvent, Records};
use super::{Journal, JournalError};
use crate::model::rule::RuleId;
use crate::sys::causes::chain;
use crate::sys::memory;

/// The records of one state directory, opened by [`super::recover::open`]. Every call blocks until the
/// disk has answered.
pub struct Store {
    dir: StateDir,
    /// `None` after a failure, until the next change has built a new database.
    database: Option<Database>,
    /// Whether the last failure was damage: then the old database is quarantined for inspection.
    damaged: bool,
    marker: Option<Marker>,
    records: Records,
    /// What of them is not written in the records of the database.
    later: LaterStates,
    history: History,
    generation: u64,
    /// The generation at which the database's size was last checked.
    checked_at: u64,
    /// How many values have been written since then.
    unchecked: usize,
    /// The slack of the database when it was last rebuilt to shrink it; see [`slack_of`].
    slack: u64,
    /// The time for the names of quarantines: the store reads no clock.
    opened_at: SystemTime,
}

impl Store {
    /// A store over an open database that holds exactly `records` with their `later` states, and a history
    /// with these ends.
    pub(super) fn new(
        dir: StateDir,
        database: Database,
        marker: Marker,
        (records, later, history): (Records, LaterStates, Ends),
        generation: u64,
        opened_at: SystemTime,
    ) -> Self {
        Self {
            dir,
            database: Some(database),
            damaged: false,
            marker: Some(marker),
            records,
            later,
            history: History::new(history),
            generation,
            checked_at: 0,
            unchecked: 0,
            slack: 0,
            opened_at,
        }
    }

    /// From now on forwards that end go into the history: they end for this cause, at the second `now`
    /// since the epoch.
    pub fn because(&mut self, cause: Cause, now: u64) {
        self.history.because(cause, now);
    }

    /// Whether Docker has yet to say of some containers whether they have ended.
    pub(crate) fn is_unsure(&self) -> bool {
        self.history.is_unsure()
    }

    /// What the history has lost since the last call.
    pub(crate) fn take_losses(&mut self) -> Vec<Loss> {
        std::mem::take(&mut self.history.losses)
    }

    /// Notes in the history what Docker has said of them.
    ///
    /// # Errors
    /// As [`Journal::intend`].
    pub(crate) fn correct_history(&mut self) -> Result<(), JournalError> {
        self.change("correcting the history", Default::default(), false)
    }

    /// Rebuilds the database if it was removed or replaced, has failed, or has outgrown its content.
    ///
    /// # Errors
    /// The database could not be rebuilt. Nothing was retried.
    pub(crate) fn keep_in_place(&mut self) -> Result<(), JournalError> {
        if self.database.as_ref().is_some_and(Database::is_in_place) {
            return self.shrink();
        }
        self.rebuild().map_err(|e| JournalError {
            operation: "rebuilding the journal".to_owned(),
            detail: chain(&e),
        })
    }

    /// Stores a part of the records of an intent. They survive a power cut once the last part, which is
    /// for [`Journal::intend`], is stored.
    ///
    /// # Errors
    /// As [`Journal::intend`].
    pub(crate) fn intend_in_part(&mut self, records: &[Record]) -> Result<(), JournalError> {
        let new = records.iter().map(|r| (r.id(), Some(r.clone()))).collect();
        self.change("recording a part of the intent of", new, false)
    }

    /// Makes everything durable and closes the database.
    ///
    /// # Errors
    /// A power cut may lose the last commits and removals. Nothing was retried.
    pub fn close(mut self) -> Result<(), JournalError> {
        if self.is_mostly_gone() {
            // Where this fails, the next start has more to read.
            let _ = self.shrink();
        }
        let failed = |detail: String| JournalError {
            operation: "closing the journal".to_owned(),
            detail,
        };
        let database = self
            .database
            .take()
            .ok_or_else(|| failed("it has failed and was not repaired".to_owned()))?;
        database.close().map_err(|e| failed(e.to_string()))?;
        Marker::write(&self.dir, self.generation)
            .map_err(|e| failed(chain(&e)))
            .map(|_| ())
    }

    /// Whether the database holds many records that are gone, which a start would read.
    fn is_mostly_gone(&self) -> bool {
        self.later.gone() > self.records.len().max(MOST_GONE)
    }

    /// Replaces the database by a new one with all acknowledged records.
    fn rebuild(&mut self) -> Result<(), OpenError> {
        if let Some(moved) = self.database.take() {
            self.history.save(Ok(&moved));
            // Somebody else put a database in its place, which is quarantined and not removed.
            self.damaged |= !moved.is_in_place();
        }
        self.dir = StateDir::prepare(self.dir.path())?;
        let generation = self.generation + 1;
        let (history, mut loss) = self.history.saved();
        match fill_beside(&self.dir, &self.records, &history, generation) {
            Err(refusal @ OpenError::NoSpace { .. }) if !self.damaged => {
                let now = self.history.now();
                let filled = fill_in_place(&self.dir, &self.records, &history, generation, now);
                loss = filled.unwrap_or(Err(refusal))?.or(loss);
            }
            filled => filled?,
        }
        self.exchange(generation)?;
        self.history.losses.extend(loss);
        Ok(())
    }

    /// Replaces the present database, which is closed, by the new one that was filled beside it.
    fn exchange(&mut self, generation: u64) -> Result<(), OpenError> {
        let replaced = self.dir.replace()?;
        self.generation = generation;
        if let Some(replaced) = replaced {
            // The new database is in place, so a failure to clear the old one must not refuse a change.
            let _ = if std::mem::take(&mut self.damaged) {
                self.dir.quarantine(&replaced, self.opened_at).map(|_| ())
            } else {
                self.dir.discard(&replaced)
            };
        }
        let journal = self.dir.journal();
        let database = Database::open(&journal).map_err(|e| refusal("opening", &journal, e))?;
        // Opening the database has created files.
        layout::sync_dir(&journal)?;
        self.marker = Some(Marker::write(&self.dir, generation)?);
        let ends = ends(&database).map_err(|e| refusal("reading", &journal, e))?;
        self.history.goes_on(ends);
        // It was filled with the records as they are.
        self.later = LaterStates::default();
        self.database = Some(database);
        self.damaged = false;
        Ok(())
    }

    /// Rebuilds the database if it has outgrown its content. Checks it once after each change. If there
    /// is no room for a new database the old one stays in use, which is not an error.
    ///
    /// # Errors
    /// The old database was closed and the new one could not be opened; the next change repairs this.
    fn shrink(&mut self) -> Result<(), JournalError> {
        if self.checked_at == self.generation {
            return Ok(());
        }
        self.checked_at = self.generation;
        free_garbage(std::mem::take(&mut self.unchecked))?;
        let generation = self.generation + 1;
        if !self.is_mostly_gone() && !has_outgrown(self.size(), self.content(), self.slack) {
            return Ok(());
        }
        let database = self.database.as_ref();
        self.history.save(database.ok_or_else(String::new));
        if !self.history.is_saved() {
            // Its entries cannot be read: the large database is better than one without them.
            self.history.unsave();
            return Ok(());
        }
        let (history, _) = self.history.saved();
        if fill_beside(&self.dir, &self.records, &history, generation).is_err() {
            self.history.unsave();
            return Ok(());
        }
        let failed = |detail: String| JournalError {
            operation: "shrinking the journal".to_owned(),
            detail,
        };
        // Closed before it is renamed, because sled writes to it by path.
        if let Some(old) = self.database.take() {
            old.close().map_err(|e| failed(e.to_string()))?;
        }
        self.exchange(generation).map_err(|e| failed(chain(&e)))?;
        free_garbage(usize::MAX)?;
        memory::trim();
        self.checked_at = self.generation;
        self.slack = slack_of(self.size(), self.content());
        Ok(())
    }

    /// Estimated bytes of the records and the history.
    fn content(&self) -> u64 {
        content(&self.records) + self.history.ends.bytes
    }

    /// The size of its files, in bytes; 0 if they cannot be read.
    pub(crate) fn size(&self) -> u64 {
        size(&self.dir.journal()).unwrap_or(0)
    }
}

/// Unknown ids are ignored: the kernel may hold rules whose records the journal has lost. So is a
/// commit that comes after the removal began. A call that changes no record writes nothing.
impl Journal for Store {
    /// Stores each record with its own state: `Intended` before an insertion, `Applied` if only the
    /// owners of a rule change.
    fn intend(&mut self, records: &[Record]) -> Result<(), JournalError> {
        let new = records.iter().map(|r| (r.id(), Some(r.clone()))).collect();
        self.change("recording the intent of", new, true)
    }

    fn commit(&mut self, ids: &[RuleId]) -> Result<(), JournalError> {
        self.step("committing", ids, RecordEvent::Commit)
    }

    fn removing(&mut self, ids: &[RuleId]) -> Result<(), JournalError> {
        self.step("marking for removal", ids, RecordEvent::Remove)
    }

    /// Removes records in any state: the kernel's listing has confirmed that the rules are gone.
    fn forget(&mut self, ids: &[RuleId]) -> Result<(), JournalError> {
        self.step("forgetting", ids, RecordEvent::Forget)
    }
}

#[cfg(test)]
mod tests;

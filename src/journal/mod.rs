//! The write-ahead journal: what we are about to insert, have inserted, and are removing.
//!
//! [`record`] says what a record is, [`codec`] how it looks on disk, [`store`] keeps records in
//! sled and is the only place that names it, [`recover`] opens a store whatever state the disk
//! is in. The journal is never proof of absence: the kernel's listing decides.

pub mod codec;
mod error;
mod layout;
mod marker;
pub mod memory;
pub mod record;
pub mod recover;
pub mod store;
#[cfg(test)]
mod testing;

use crate::model::rule::RuleId;
use record::Record;

/// The journal as the firewall writer uses it.
///
/// Each call is one atomic change of the journal.
pub trait Journal: Send {
    /// Records `records` (new ones, or new content for known ones) durably: when this returns
    /// `Ok` they survive a power cut.
    ///
    /// # Errors
    /// None of the records may be relied upon; their rules must not be inserted.
    fn intend(&mut self, records: &[Record]) -> Result<(), JournalError>;

    /// Marks records as [`record::State::Applied`]. Survives the end of the process, not
    /// necessarily a power cut: recovery treats all states alike.
    ///
    /// # Errors
    /// The records keep their state.
    fn commit(&mut self, ids: &[RuleId]) -> Result<(), JournalError>;

    /// Marks records as [`record::State::Removing`]. As durable as a commit.
    ///
    /// # Errors
    /// The records keep their state.
    fn removing(&mut self, ids: &[RuleId]) -> Result<(), JournalError>;

    /// Removes the records of rules that are confirmed gone. As durable as a commit.
    ///
    /// # Errors
    /// The records stay, which is harmless: the kernel's listing decides.
    fn forget(&mut self, ids: &[RuleId]) -> Result<(), JournalError>;
}

/// The journal's failure: a full or read-only disk, damage, a dead actor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {detail}")]
pub struct JournalError {
    /// What was being done, with its object.
    pub operation: String,
    /// What went wrong.
    pub detail: String,
}

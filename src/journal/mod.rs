//! The write-ahead journal: the rules that the daemon is about to insert, has inserted, and is
//! removing.
//!
//! [`record`] defines a record and its states, [`codec`] its format on disk; [`store`] keeps records in
//! sled and is the only module that names it; [`recover`] opens a store in whatever state a crash or
//! damage has left the disk. The journal never proves that a rule is absent: the kernel's listing
//! decides. What was open before is in its [`history`].

pub(crate) mod codec;
mod error;
pub mod history;
mod layout;
mod marker;
pub mod memory;
pub mod record;
pub mod recover;
pub mod store;
#[cfg(test)]
pub(crate) mod testing;

use crate::model::rule::RuleId;
use record::Record;

/// The journal as the firewall writer uses it.
///
/// Each call is one atomic change of the journal.
pub trait Journal: Send {
    /// Writes records, or new content of known records, durably: after `Ok` they survive a power cut.
    ///
    /// # Errors
    /// Some or all records may not be on disk; their rules must not be inserted.
    fn intend(&mut self, records: &[Record]) -> Result<(), JournalError>;

    /// Marks records as [`record::RecordState::Applied`]. Survives the end of the process, not
    /// necessarily a power cut: recovery treats all states alike.
    ///
    /// # Errors
    /// The records keep their state.
    fn commit(&mut self, ids: &[RuleId]) -> Result<(), JournalError>;

    /// Marks records as [`record::RecordState::Removing`]. As durable as a commit.
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

//! What has become of records since they were written, where very many changed at once.
//!
//! A step of a few records writes each anew, or removes it. A step of many would write as much as their
//! intent, three times in their life; instead it notes in a tree of its own what the records have
//! become, hundreds in one value, and the records stay as they were written until the next write or
//! rebuild. So in the database
//!
//! ```text
//!   a record = what was written, in the state that was noted, if one was
//!   no record: nothing was written, or it was noted as gone
//! ```
//!
//! The sentinel counts the records that are written. The notes carry the generation of the sentinel
//! beside which they are right, and change in one transaction with it. A release that does not know
//! them leaves them alone and goes on counting: what it finds are records in earlier states, or of rules
//! that are gone, and the kernel's listing decides. When this one comes back, the notes are of an old
//! generation, and are dropped.

use std::collections::{BTreeMap, BTreeSet};

use super::database::{Change, Database, DatabaseError};
use crate::journal::codec::DecodeError;
use crate::journal::codec::states::{
    self, LaterState, MOST_IN_GROUP, SUMMARY_KEY, Summary, group_of, key,
};
use crate::journal::record::Records;
use crate::model::rule::RuleId;

/// From so many records on a step is noted. Each takes one small value at most, instead of the record.
pub(super) const MANY: usize = 16;

/// The notes of a database.
#[derive(Debug, Default)]
pub(in crate::journal) struct LaterStates {
    states: BTreeMap<RuleId, LaterState>,
    /// How many are gone.
    gone: usize,
    /// The groups that have changed since they were written.
    changed: BTreeSet<u16>,
    /// Whether the database holds any.
    is_written: bool,
}

impl LaterStates {
    /// How many records are written that are gone.
    pub(super) fn gone(&self) -> usize {
        self.gone
    }

    pub(super) fn is_gone(&self, id: RuleId) -> bool {
        self.states.get(&id) == Some(&None)
    }

    /// Whether the groups have room for these, too.
    pub(super) fn has_room(&self, ids: impl Iterator<Item = RuleId>) -> bool {
        let mut more: BTreeMap<u16, usize> = BTreeMap::new();
        for id in ids.filter(|id| !self.states.contains_key(id)) {
            *more.entry(group_of(id)).or_default() += 1;
        }
        let fits =
            |(group, more): (&u16, &usize)| self.group(*group).count() + more <= MOST_IN_GROUP;
        more.iter().all(fits)
    }

    /// Notes what a written record has become.
    pub(super) fn note(&mut self, id: RuleId, state: LaterState) {
        self.forget(id);
        self.gone += usize::from(state.is_none());
        self.changed.insert(group_of(id));
        self.states.insert(id, state);
    }

    /// The record is written anew, or removed.
    pub(super) fn forget(&mut self, id: RuleId) {
        if let Some(state) = self.states.remove(&id) {
            self.gone -= usize::from(state.is_none());
            self.changed.insert(group_of(id));
        }
    }

    /// The changes of the database for what has been noted since the last call, so that it is right
    /// beside this generation of the sentinel.
    pub(super) fn changes(&mut self, generation: u64) -> Vec<Change> {
        if self.states.is_empty() && !self.is_written {
            return Vec::new();
        }
        let mut changes: Vec<Change> = Vec::with_capacity(self.changed.len() + 1);
        for group in std::mem::take(&mut self.changed) {
            let key = key(group);
            let mut entries = self.group(group).peekable();
            let is_empty = entries.peek().is_none();
            let value = (!is_empty).then(|| states::encode(&key, entries));
            changes.push((key.to_vec(), value));
        }
        self.is_written = !self.states.is_empty();
        let summary = self.summary(generation);
        let summary = self.is_written.then(|| states::encode_summary(&summary));
        changes.push((SUMMARY_KEY.to_vec(), summary));
        changes
    }

    fn summary(&self, generation: u64) -> Summary {
        Summary {
            generation,
            entries: self.states.len() as u64,
            gone: self.gone as u64,
        }
    }

    fn group(&self, group: u16) -> impl Iterator<Item = (RuleId, LaterState)> {
        let [first, last] = states::ends_of(group);
        let entries = self.states.range(first..=last);
        entries.map(|(id, state)| (*id, *state))
    }

    /// Reads the notes of a database, whose sentinel has this generation, and brings the records that
    /// are written to their later states. Notes of another generation are dropped.
    ///
    /// # Errors
    /// The system's, or how they are damaged.
    pub(in crate::journal) fn read(
        database: &Database,
        generation: u64,
        records: &mut Records,
    ) -> Result<Self, ReadError> {
        let entries = database.states()?;
        let summary = entries.iter().find(|(key, _)| key == SUMMARY_KEY);
        let summary = summary.map(|(_, value)| states::decode_summary(value));
        let summary = summary.transpose()?;
        let Some(summary) = summary.filter(|it| it.generation == generation) else {
            database.drop_states(entries.into_iter().map(|(key, _)| key))?;
            return Ok(Self::default());
        };
        let mut read = Self::default();
        for (key, value) in entries.iter().filter(|(key, _)| key != SUMMARY_KEY) {
            for (id, state) in states::decode(key, value)? {
                match (records.get_mut(&id), state) {
                    (None, _) => return Err(ReadError::unknown(id)),
                    (Some(record), Some(state)) => record.state = state,
                    (Some(_), None) => drop(records.remove(&id)),
                }
                read.note(id, state);
            }
        }
        if read.summary(generation) != summary {
            return Err(ReadError::Content(states::incomplete()));
        }
        read.changed.clear();
        read.is_written = true;
        Ok(read)
    }
}

/// Why the notes cannot be read.
#[derive(Debug)]
pub(in crate::journal) enum ReadError {
    /// The database.
    Database(DatabaseError),
    /// What is in it.
    Content(DecodeError),
}

impl ReadError {
    fn unknown(id: RuleId) -> Self {
        let reason = format!("a state is noted of rule {id}, which has no record");
        Self::Content(DecodeError::Damaged { reason })
    }
}

impl From<DatabaseError> for ReadError {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl From<DecodeError> for ReadError {
    fn from(error: DecodeError) -> Self {
        Self::Content(error)
    }
}

#[cfg(test)]
mod tests;

//! Changes of the records, each of them written at once: all of it, or nothing.

use std::collections::BTreeMap;

use super::Store;
use super::build::sentinel_change;
use super::database::{Change, Changes, Database, DatabaseError};
use super::history::appended;
use super::states::MANY;
use crate::journal::JournalError;
use crate::journal::codec::{self, Sentinel};
use crate::journal::error::OpenError;
use crate::journal::history::chain::Ends;
use crate::journal::history::closing::HistoryEntry;
use crate::journal::record::{IllegalStep, Record, RecordEvent, RecordState, step};
use crate::model::rule::RuleId;
use crate::sys::causes::chain;

impl Store {
    /// Writes what an event makes of the records with these ids. A record that the event does not
    /// fit stays as it is.
    pub(super) fn step(
        &mut self,
        operation: &str,
        ids: &[RuleId],
        event: RecordEvent,
    ) -> Result<(), JournalError> {
        let mut new = BTreeMap::new();
        for (id, record) in ids.iter().filter_map(|id| self.records.get_key_value(id)) {
            match step(Some(record.state), event) {
                Ok(Some(state)) if state != record.state => drop(new.insert(*id, Some(state))),
                Ok(None) => drop(new.insert(*id, None)),
                Ok(Some(_)) | Err(IllegalStep { .. }) => {}
            }
        }
        if new.len() >= MANY && self.later.has_room(new.keys().copied()) {
            return self.note(operation, &new);
        }
        let written = |(id, state): (RuleId, Option<RecordState>)| {
            let record = state.zip(self.records.get(&id));
            let record = record.map(|(state, record)| Record {
                state,
                ..record.clone()
            });
            (id, record)
        };
        let new = new.into_iter().map(written).collect();
        self.change(operation, new, false)
    }

    /// Writes the new records, and removes those that have none.
    pub(super) fn change(
        &mut self,
        operation: &str,
        new: BTreeMap<RuleId, Option<Record>>,
        durable: bool,
    ) -> Result<(), JournalError> {
        let failed = |detail: String| failure(operation, new.len(), detail);
        let mut changes: Vec<Change> = Vec::with_capacity(new.len() + 1);
        for (id, record) in &new {
            let value = record.as_ref().map(codec::encode).transpose();
            let value = value.map_err(|e| failed(e.to_string()))?;
            changes.push((id.as_bytes().to_vec(), value));
        }
        let after = new.iter().map(|(id, record)| (*id, record.as_ref()));
        let mut entries = self.history.corrections();
        entries.extend(self.history.closings(&self.records, after));
        if changes.is_empty() && entries.is_empty() {
            return Ok(());
        }
        self.prepare().map_err(|e| failed(chain(&e)))?;
        let mut written = self.records.len() + self.later.gone();
        for (id, record) in &new {
            let was_written = self.records.contains_key(id) || self.later.is_gone(*id);
            written += usize::from(record.is_some());
            written -= usize::from(was_written);
            self.later.forget(*id);
        }
        self.write(changes, written, &entries, durable)
            .map_err(|error| failed(error.to_string()))?;
        for (id, record) in new {
            match record {
                Some(record) => self.records.insert(id, record),
                None => self.records.remove(&id),
            };
        }
        Ok(())
    }

    /// Notes what very many records have become; `None`: they go. They are not written.
    fn note(
        &mut self,
        operation: &str,
        new: &BTreeMap<RuleId, Option<RecordState>>,
    ) -> Result<(), JournalError> {
        let failed = |detail: String| failure(operation, new.len(), detail);
        let gone = new.iter().filter(|(_, state)| state.is_none());
        let gone = gone.map(|(id, _)| (*id, None));
        let mut entries = self.history.corrections();
        entries.extend(self.history.closings(&self.records, gone));
        self.prepare().map_err(|e| failed(chain(&e)))?;
        let written = self.records.len() + self.later.gone();
        for (id, state) in new {
            self.later.note(*id, *state);
        }
        self.write(Vec::new(), written, &entries, false)
            .map_err(|error| failed(error.to_string()))?;
        for (id, state) in new {
            match state {
                None => drop(self.records.remove(id)),
                Some(state) => {
                    if let Some(record) = self.records.get_mut(id) {
                        record.state = *state;
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes sure that there is a database to write to.
    fn prepare(&mut self) -> Result<(), OpenError> {
        match self.database.as_ref().is_some_and(Database::is_in_place) {
            true => Ok(()),
            false => self.rebuild(),
        }
    }

    /// Writes changes of records and all that has been noted, under a new generation. `written`: how many
    /// records the database then holds. After a failure it is closed.
    fn write(
        &mut self,
        mut records: Vec<Change>,
        written: usize,
        entries: &[HistoryEntry],
        durable: bool,
    ) -> Result<(), DatabaseError> {
        let sentinel = Sentinel {
            generation: self.generation + 1,
            live: written as u64,
        };
        records.push(sentinel_change(sentinel));
        let states = self.later.changes(sentinel.generation);
        self.unchecked = self.unchecked.saturating_add(records.len() + states.len());
        match self.write_out(records, states, entries, durable) {
            Ok(ends) => self.history.written(entries, ends),
            Err(error) => {
                self.damaged = matches!(error, DatabaseError::Damaged(_));
                let left = self.database.take().filter(|_| !self.damaged);
                self.history
                    .save(left.as_ref().ok_or_else(|| error.to_string()));
                return Err(error);
            }
        }
        self.generation = sentinel.generation;
        if durable && let Some(marker) = &self.marker {
            marker.raise(self.generation);
        }
        Ok(())
    }

    /// Returns where the history then ends.
    fn write_out(
        &self,
        records: Vec<Change>,
        states: Vec<Change>,
        entries: &[HistoryEntry],
        durable: bool,
    ) -> Result<Ends, DatabaseError> {
        let missing = || DatabaseError::Damaged("the database was moved away".to_owned());
        let database = self.database.as_ref().ok_or_else(missing)?;
        let (history, ends) = appended(database, &self.history.ends, entries)?;
        database.apply(Changes {
            records,
            history,
            states,
        })?;
        if durable {
            database.sync()?;
        }
        if database.is_in_place() {
            Ok(ends)
        } else {
            Err(missing())
        }
    }
}

fn failure(operation: &str, records: usize, detail: String) -> JournalError {
    JournalError {
        operation: match records {
            0 => operation.to_owned(),
            count => format!("{operation} {count} records"),
        },
        detail,
    }
}

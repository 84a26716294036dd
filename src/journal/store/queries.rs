//! What a store holds.

use std::ops::Bound;

use super::Store;
use crate::journal::JournalError;
use crate::journal::history::chain::Link;
use crate::journal::history::past::StoredHistory;
use crate::journal::record::Record;
use crate::model::rule::RuleId;

impl Store {
    /// Every acknowledged record, by id.
    pub fn records(&self) -> Vec<Record> {
        self.records.values().cloned().collect()
    }

    /// The first `most` acknowledged records after the id `after`, by id.
    pub(crate) fn records_after(&self, after: Option<RuleId>, most: usize) -> Vec<Record> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.records.range((from, Bound::Unbounded));
        rest.take(most).map(|(_, record)| record.clone()).collect()
    }

    /// Some entries of the history behind the one of this number, and where it begins and ends.
    ///
    /// # Errors
    /// The database has failed. Nothing was retried.
    pub fn history_after(&self, number: u64) -> Result<StoredHistory, JournalError> {
        let failed = |detail: String| JournalError {
            operation: "reading the history".to_owned(),
            detail,
        };
        let database = self.database.as_ref();
        let database = database.ok_or_else(|| failed("the journal has failed".to_owned()))?;
        let page = self.history.page(database, number);
        page.map_err(|e| failed(e.to_string()))
    }

    /// The newest entry of the history.
    pub(crate) fn history_head(&self) -> Link {
        self.history.ends.head
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Counts the changes, across restarts and quarantines.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the last change succeeded; if not, the next one first rebuilds the database.
    pub fn is_healthy(&self) -> bool {
        self.database.is_some()
    }
}

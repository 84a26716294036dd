//! A journal in memory: for tests, which can make it fail, and for a cleanup without a journal.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::record::{Record, RecordEvent, Records, step_one};
use super::{Journal, JournalError};
use crate::model::rule::RuleId;

/// Records that end with the process. Clones share them, as a restarted daemon shares a disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryJournal(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    records: Records,
    /// How many further calls succeed before all fail; `None`: every call succeeds.
    good_calls: Option<usize>,
}

impl MemoryJournal {
    /// Every record, by id.
    pub fn records(&self) -> Vec<Record> {
        self.inner().records.values().cloned().collect()
    }

    /// Lets the next `calls` calls succeed and every later one fail; `None` ends the failures.
    #[cfg(test)]
    pub(crate) fn fail_after(&self, calls: Option<usize>) {
        self.inner().good_calls = calls;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, operation: &str, f: impl FnOnce(&mut Records)) -> Result<(), JournalError> {
        let mut inner = self.inner();
        match &mut inner.good_calls {
            Some(0) => {
                return Err(JournalError {
                    operation: operation.to_owned(),
                    detail: "made to fail".to_owned(),
                });
            }
            Some(left) => *left -= 1,
            None => {}
        }
        f(&mut inner.records);
        Ok(())
    }

    fn step(&self, what: &str, ids: &[RuleId], event: RecordEvent) -> Result<(), JournalError> {
        self.write(what, |records| {
            for id in ids {
                // As in the store: an illegal step leaves the record as it is.
                let _ = step_one(records, *id, event);
            }
        })
    }
}

impl Journal for MemoryJournal {
    fn intend(&mut self, new: &[Record]) -> Result<(), JournalError> {
        self.write("intend", |records| {
            records.extend(new.iter().map(|r| (r.id(), r.clone())));
        })
    }

    fn commit(&mut self, ids: &[RuleId]) -> Result<(), JournalError> {
        self.step("commit", ids, RecordEvent::Commit)
    }

    fn removing(&mut self, ids: &[RuleId]) -> Result<(), JournalError> {
        self.step("removing", ids, RecordEvent::Remove)
    }

    fn forget(&mut self, ids: &[RuleId]) -> Result<(), JournalError> {
        self.step("forget", ids, RecordEvent::Forget)
    }
}

//! The trees of the database, and changes of several of them at once.

use sled::Transactional;
use sled::transaction::{ConflictableTransactionError, TransactionError};

/// A key, and its new value or its removal.
pub(crate) type Change = (Vec<u8>, Option<Vec<u8>>);

/// The name of the history's tree. It is apart from the records, so that these are read without it.
pub(super) const HISTORY: &[u8] = b"history";

/// The name of the tree of the records' later states. An earlier release does not look into it.
pub(super) const STATES: &[u8] = b"states";

/// Changes that are made together or not at all.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Of the records, and of the sentinel.
    pub(crate) records: Vec<Change>,
    /// Of the history.
    pub(crate) history: Vec<Change>,
    /// Of what records have become later.
    pub(crate) states: Vec<Change>,
}

impl Changes {
    /// As sled takes them.
    pub(super) fn prepared(self) -> Prepared {
        let others = [(HISTORY, self.history), (STATES, self.states)];
        let others = others
            .into_iter()
            .filter(|(_, changes)| !changes.is_empty());
        Prepared {
            records: batch(self.records),
            others: others
                .map(|(name, changes)| (name, batch(changes)))
                .collect(),
        }
    }
}

/// Changes as sled takes them.
pub(super) struct Prepared {
    records: sled::Batch,
    /// With the names of their trees.
    others: Vec<(&'static [u8], sled::Batch)>,
}

impl Prepared {
    /// Makes all or none of them.
    pub(super) fn make(self, db: &sled::Db) -> Result<(), sled::Error> {
        let Self { records, others } = self;
        if others.is_empty() {
            return db.apply_batch(records);
        }
        let trees = others.iter().map(|(name, _)| db.open_tree(name));
        let trees: Vec<sled::Tree> = trees.collect::<Result<_, _>>()?;
        let all: Vec<&sled::Tree> = std::iter::once(&**db).chain(&trees).collect();
        let batches = std::iter::once(&records).chain(others.iter().map(|(_, batch)| batch));
        let changed = all.as_slice().transaction(|trees| {
            for (tree, batch) in trees.iter().zip(batches.clone()) {
                tree.apply_batch(batch)?;
            }
            Ok::<_, ConflictableTransactionError<()>>(())
        });
        changed.map_err(|error| match error {
            TransactionError::Storage(error) => error,
            // Nothing aborts it.
            TransactionError::Abort(()) => sled::Error::Unsupported("it was aborted".to_owned()),
        })
    }
}

fn batch(changes: Vec<Change>) -> sled::Batch {
    let mut batch = sled::Batch::default();
    for (key, value) in changes {
        match value {
            Some(value) => batch.insert(key, value),
            None => batch.remove(key),
        }
    }
    batch
}

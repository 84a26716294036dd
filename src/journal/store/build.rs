//! Writes a complete new database of given records and their history.
//!
//! It is written beside the present one, and [`StateDir::replace`] exchanges the two. On a small, full
//! disk the new database needs the space of the old one, which is then removed first. A crash between
//! the two loses records but no rules: the kernel holds them, with their comments.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::database::{Change, Changes, Database, DatabaseError};
use super::history::copied;
use crate::journal::codec::{self, Sentinel};
use crate::journal::error::OpenError;
use crate::journal::history::closing::Loss;
use crate::journal::history::past::StoredHistory;
use crate::journal::layout::{self, StateDir};
use crate::journal::record::Record;
use crate::model::rule::RuleId;

/// Bytes of a database without records, including what the file system needs for it.
const EMPTY: u64 = 640 * 1024;

/// How many times as large as its content a database may be.
pub(super) const SLACK: u64 = 4;

/// How many records are encoded to estimate the size of all.
const SAMPLE: usize = 64;

/// Writes a complete, durable database of `records` and `history`, and replaces the present one by it.
/// Returns the path of the replaced database, if there was one.
pub(in crate::journal) fn build(
    dir: &StateDir,
    records: &BTreeMap<RuleId, Record>,
    history: &StoredHistory,
    generation: u64,
) -> Result<Option<PathBuf>, OpenError> {
    fill_beside(dir, records, history, generation)?;
    dir.replace()
}

/// Writes a complete, durable database of `records` and `history` as `journal.new`.
pub(super) fn fill_beside(
    dir: &StateDir,
    records: &BTreeMap<RuleId, Record>,
    history: &StoredHistory,
    generation: u64,
) -> Result<(), OpenError> {
    let new = dir.new_journal();
    layout::remove(&new)?;
    let filled = layout::make_private(&new).and_then(|()| fill(&new, records, history, generation));
    if filled.is_err() {
        // Free the space of the incomplete database: space may be what is missing.
        let _ = layout::remove(&new);
    }
    filled
}

fn fill(
    path: &Path,
    records: &BTreeMap<RuleId, Record>,
    history: &StoredHistory,
    generation: u64,
) -> Result<(), OpenError> {
    let failed = |error| refusal("creating", path, error);
    let database = Database::open(path).map_err(failed)?;
    let mut changes = Vec::with_capacity(records.len() + 1);
    for (id, record) in records {
        let value = codec::encode(record)
            .map_err(|e| failed(DatabaseError::Io(std::io::Error::other(e.to_string()))))?;
        changes.push((id.as_bytes().to_vec(), Some(value)));
    }
    changes.push(sentinel_change(Sentinel {
        generation,
        live: records.len() as u64,
    }));
    for part in copied(history) {
        let part = Changes {
            history: part,
            ..Changes::default()
        };
        database.apply(part).map_err(failed)?;
    }
    let changes = Changes {
        records: changes,
        ..Changes::default()
    };
    database.apply(changes).map_err(failed)?;
    database.close().map_err(failed)?;
    layout::sync_tree(path)
}

pub(super) fn sentinel_change(sentinel: Sentinel) -> Change {
    let value = codec::encode_sentinel(sentinel);
    (codec::SENTINEL_KEY.to_vec(), Some(value))
}

/// The error for an operation on a database that we are creating. What sled calls damage in a new
/// database is an I/O error.
pub(in crate::journal) fn refusal(operation: &str, path: &Path, error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::InUse => OpenError::InUse(path.to_owned()),
        DatabaseError::Io(error) => OpenError::io(operation, path, error),
        DatabaseError::Damaged(reason) => {
            OpenError::io(operation, path, std::io::Error::other(reason))
        }
    }
}

/// Removes the present database, which has failed, and writes `journal.new` in the space that this
/// frees; without the history's entries if there is no room for them, which are then returned as lost at
/// the second `now` since the epoch. Returns `None`, and changes nothing, if that space would not
/// suffice.
pub(in crate::journal) fn fill_in_place(
    dir: &StateDir,
    records: &BTreeMap<RuleId, Record>,
    history: &StoredHistory,
    generation: u64,
    now: u64,
) -> Option<Result<Option<Loss>, OpenError>> {
    let journal = dir.journal();
    let old = size(&journal).unwrap_or(0);
    let free =
        rustix::fs::statvfs(dir.path()).map_or(0, |at| at.f_bavail.saturating_mul(at.f_frsize));
    let content = content(records);
    let fits = |content| old.saturating_add(free) >= EMPTY + SLACK * content;
    if !fits(content) {
        return None;
    }
    // The records are worth more.
    let (bare, lost) = StoredHistory::lost(history.anchor, history.head, now, "the disk was full");
    let (history, lost) = match fits(content + history.bytes()) {
        true => (history, None),
        false => (&bare, lost),
    };
    // While an empty `journal` exists, a start does not use an incomplete `journal.new`.
    let emptied = layout::remove(&dir.old_journal())
        .and_then(|()| layout::remove(&dir.new_journal()))
        .and_then(|()| layout::remove(&journal))
        .and_then(|()| layout::make_private(&journal));
    let filled = emptied.and_then(|()| fill_beside(dir, records, history, generation));
    Some(filled.map(|()| lost))
}

/// Estimated bytes of all records. Looks only at a sample, because there may be very many and this runs
/// after each change: at those that follow some ids, which are hashes and so lie evenly.
pub(super) fn content(records: &BTreeMap<RuleId, Record>) -> u64 {
    let starts = (0..SAMPLE as u64)
        .map(|n| RuleId::from_bytes((n * (u64::MAX / SAMPLE as u64)).to_be_bytes()));
    let sample: BTreeMap<RuleId, &Record> = starts
        .filter_map(|start| records.range(start..).next())
        .map(|(id, record)| (*id, record))
        .collect();
    let bytes = |record: &&Record| codec::encode(record).map_or(0, |value| value.len() as u64);
    let sampled: u64 = sample.values().map(bytes).sum();
    sampled * records.len() as u64 / u64::max(sample.len() as u64, 1)
}

/// The bytes of all files below a directory.
pub(super) fn size(dir: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let found = entry.metadata()?;
        sum += match found.is_dir() {
            true => size(&entry.path())?,
            false => found.len(),
        };
    }
    Ok(sum)
}

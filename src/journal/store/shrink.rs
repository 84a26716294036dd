//! The database does not outgrow its content for long: sled gives back neither the file nor the
//! memory that large changes have taken, and a new database of the same records needs neither.
//!
//! On a small disk that is full the new one needs the room that the old one has. Then the old one
//! is removed before the new one is written. A crash between the two loses the records, and not the
//! rules: the kernel has them, with their comments.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::{Store, fill_beside, with_sources};
use crate::journal::error::OpenError;
use crate::journal::layout::StateDir;
use crate::journal::record::Record;
use crate::journal::{JournalError, codec, layout};
use crate::model::rule::RuleId;
use crate::panic_guard::guarded;

/// Bytes of a database that are nobody's business: an empty one has half a megabyte.
const FLOOR: u64 = 4 * 1024 * 1024;

/// Bytes of a database without records, and of the file system's own for it.
const EMPTY: u64 = 640 * 1024;

/// How many times its content a database may be as large, beyond [`FLOOR`].
const SLACK: u64 = 4;

/// How many records tell how large one is.
const SAMPLE: usize = 64;

impl Store {
    /// Builds the database anew where it has outgrown its content. It is looked at once after each
    /// change. Where there is no room for a new one the old one serves on, and that it is large is
    /// no reason to call it ill.
    ///
    /// # Errors
    /// The database was closed, and neither took its place; the next change repairs it.
    pub(super) fn shrink(&mut self) -> Result<(), JournalError> {
        if self.looked_at == self.generation {
            return Ok(());
        }
        self.looked_at = self.generation;
        let_go()?;
        let generation = self.generation + 1;
        if !self.has_outgrown() || fill_beside(&self.dir, &self.records, generation).is_err() {
            return Ok(());
        }
        let failed = |detail: String| JournalError {
            operation: "making the journal smaller".to_owned(),
            detail,
        };
        // Before it is moved, for it writes by its name.
        if let Some(old) = self.database.take() {
            old.close().map_err(|e| failed(e.to_string()))?;
        }
        self.exchange(generation)
            .map_err(|e| failed(with_sources(&e)))?;
        let_go()?;
        self.looked_at = self.generation;
        let beyond = self.size().saturating_sub(FLOOR);
        self.slack = beyond.div_ceil(u64::max(content(&self.records), 1));
        Ok(())
    }

    fn has_outgrown(&self) -> bool {
        let size = self.size();
        // Not where a new one of as many records would not be smaller.
        let slack = SLACK.max(2 * self.slack);
        size > FLOOR && size > FLOOR + slack * content(&self.records)
    }

    fn size(&self) -> u64 {
        size(&self.dir.journal()).unwrap_or(0)
    }
}

/// Frees what sled has let go of: it leaves that to crossbeam-epoch, which does it bit by bit whenever
/// its threads come by, and those of an idle database, or of one that was closed, come by no more.
fn let_go() -> Result<(), JournalError> {
    /// Each frees 512 pieces at the most. All of them take some milliseconds, and an old database of
    /// 120,000 records has fewer pieces.
    const TURNS: usize = 10_000;
    // What is freed is sled's, which panics where it finds itself broken.
    guarded(|| (0..TURNS).for_each(|_| crossbeam_epoch::pin().flush())).map_err(|detail| {
        JournalError {
            operation: "freeing what the journal has let go of".to_owned(),
            detail,
        }
    })
}

/// Makes a new database beside the place of one that has failed, whose room it needs; nothing has
/// changed its place yet. Says `None` where the room would not suffice, and has done nothing.
pub(in crate::journal) fn fill_in_place(
    dir: &StateDir,
    records: &BTreeMap<RuleId, Record>,
    generation: u64,
) -> Option<Result<(), OpenError>> {
    let journal = dir.journal();
    let old = size(&journal).unwrap_or(0);
    let free =
        rustix::fs::statvfs(dir.path()).map_or(0, |at| at.f_bavail.saturating_mul(at.f_frsize));
    if old.saturating_add(free) < EMPTY + SLACK * content(records) {
        return None;
    }
    // As long as it is there, though it is empty, nobody takes a half-made new one for its heir.
    let emptied = layout::remove(&dir.old_journal())
        .and_then(|()| layout::remove(&dir.new_journal()))
        .and_then(|()| layout::remove(&journal))
        .and_then(|()| layout::make_private(&journal));
    Some(emptied.and_then(|()| fill_beside(dir, records, generation)))
}

/// Bytes of all records, by a sample of them: there may be very many, and this is asked after each
/// change.
fn content(records: &BTreeMap<RuleId, Record>) -> u64 {
    let sample = records.values().step_by(records.len() / SAMPLE + 1);
    let (mut looked_at, mut bytes) = (0, 0);
    for record in sample {
        looked_at += 1;
        bytes += codec::encode(record).map_or(0, |value| value.len() as u64);
    }
    bytes * records.len() as u64 / u64::max(looked_at, 1)
}

/// The bytes of all files below a directory.
fn size(dir: &Path) -> io::Result<u64> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::testing::{ids, records, started};
    use crate::journal::{Journal, recover};

    #[test]
    fn a_database_that_has_outgrown_its_content_is_built_anew() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut store = recover::open(dir.path(), started()).expect("opens").store;
        store.intend(&records(1..=3)).expect("intends");
        let journal = dir.path().join("journal");
        let mut rounds = 0;
        while size(&journal).expect("readable") <= 2 * FLOOR {
            store.intend(&records(100..=2000)).expect("intends");
            store.forget(&ids(100..=2000)).expect("forgets");
            rounds += 1;
            assert!(rounds < 1000, "it does not grow");
        }
        // However large it was built when it had many records.
        store.slack = 100;
        store.keep_in_place().expect("in its place");
        assert!(size(&journal).expect("readable") < FLOOR);
        let kept = store.records();
        assert_eq!(kept.len(), 3);
        assert!(store.is_healthy());
        // As long as nothing changes there is nothing to look at.
        let generation = store.generation();
        store.keep_in_place().expect("in its place");
        assert_eq!(store.generation(), generation);
        store.intend(&records(4..=4)).expect("goes on");
        drop(store);
        let opened = recover::open(dir.path(), started()).expect("opens");
        assert!(opened.quarantined.is_none(), "{:?}", opened.quarantined);
        assert_eq!(opened.records.len(), 4);
    }
}

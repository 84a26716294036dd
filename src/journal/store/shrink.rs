//! Decides when the database has outgrown its content and must be rebuilt: sled returns neither the
//! disk space nor the memory that large changes took, and a new database of the same records needs
//! neither.

use std::ops::RangeInclusive;

use super::build::SLACK;
use crate::journal::JournalError;
use crate::sys::panics::guard::guarded;

/// Bytes that a database may always have. An empty one has half a megabyte.
const FLOOR: u64 = 4 * 1024 * 1024;

/// Up to so many records of rules that are gone a database always keeps; they take less than a megabyte.
pub(super) const MOST_GONE: usize = 1_000;

/// Whether a database of `size` bytes with `content` bytes of records needs a rebuild. `slack` is
/// [`slack_of`] the last rebuilt one: a new one of as many records would be as large.
pub(super) fn has_outgrown(size: u64, content: u64, slack: u64) -> bool {
    size > FLOOR && size > FLOOR + SLACK.max(2 * slack) * content
}

/// How many times as large as its content a database is, not counting [`FLOOR`].
pub(super) fn slack_of(size: u64, content: u64) -> u64 {
    size.saturating_sub(FLOOR).div_ceil(content.max(1))
}

/// Frees the memory that sled no longer uses. sled leaves this to crossbeam-epoch, which frees a
/// little whenever one of sled's threads does some work; those of an idle or closed database do none.
/// `written`: how many values were written since the last call; of a database that was closed, all.
pub(super) fn free_garbage(written: usize) -> Result<(), JournalError> {
    /// Each turn frees at most 512 pieces. 10,000 turns take a millisecond, and free more than a database
    /// of 120,000 records leaves.
    const TURNS: RangeInclusive<usize> = 200..=10_000;
    let turns = written.clamp(*TURNS.start(), *TURNS.end());
    // This runs sled's destructors, which may panic after damage.
    guarded(|| (0..turns).for_each(|_| crossbeam_epoch::pin().flush())).map_err(|detail| {
        JournalError {
            operation: "freeing the journal's unused memory".to_owned(),
            detail,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::build::size;
    use super::FLOOR;
    use crate::journal::testing::{ids, records, started};
    use crate::journal::{Journal, recover};

    #[test]
    fn a_database_that_has_outgrown_its_content_is_rebuilt() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut store = recover::open(dir.path(), started()).expect("opens").store;
        store.intend(&records(1..=3)).expect("intends");
        let journal = dir.path().join("journal");
        let mut rounds = 0;
        while size(&journal).expect("readable") <= 2 * FLOOR {
            // What is gone stays in the database until then.
            let ports = 100 + 2_000 * rounds..=2_099 + 2_000 * rounds;
            store.intend(&records(ports.clone())).expect("intends");
            store.forget(&ids(ports)).expect("forgets");
            rounds += 1;
            assert!(rounds < 30, "it does not grow");
        }
        // However large it was when rebuilt with many records.
        store.slack = 100;
        store.keep_in_place().expect("in its place");
        assert!(size(&journal).expect("readable") < FLOOR);
        let kept = store.records();
        assert_eq!(kept.len(), 3);
        assert!(store.is_healthy());
        // Without a change the size is not checked again.
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

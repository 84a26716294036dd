//! The database does not outgrow its content for long: sled returns neither the file nor the
//! memory that large changes have taken, and a new database of the same records needs neither.

use super::build::SLACK;
use crate::journal::JournalError;
use crate::sys::panics::guard::guarded;

/// Bytes that a database may have whatever it holds: an empty one has half a megabyte.
const FLOOR: u64 = 4 * 1024 * 1024;

/// Whether a database of `size` bytes that holds `content` bytes is to be built anew. `slack` is
/// [`slack_of`] the last one that was built: a new one of as many records would be no smaller.
pub(super) fn has_outgrown(size: u64, content: u64, slack: u64) -> bool {
    size > FLOOR && size > FLOOR + SLACK.max(2 * slack) * content
}

/// How many times its content a database is as large, beyond [`FLOOR`].
pub(super) fn slack_of(size: u64, content: u64) -> u64 {
    size.saturating_sub(FLOOR).div_ceil(content.max(1))
}

/// Frees the memory that sled no longer uses. sled leaves that to crossbeam-epoch, which frees a
/// little whenever one of sled's threads passes by; the threads of an idle or closed database do
/// not.
pub(super) fn free_garbage() -> Result<(), JournalError> {
    /// Each turn frees at most 512 pieces. All turns take some milliseconds, and a database of
    /// 120,000 records leaves fewer pieces.
    const TURNS: usize = 10_000;
    // The memory is sled's, which panics where it finds itself broken.
    guarded(|| (0..TURNS).for_each(|_| crossbeam_epoch::pin().flush())).map_err(|detail| {
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

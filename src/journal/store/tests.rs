//! The contract of the store, including restarts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::journal::record::RecordState;
use crate::journal::recover::{self, Opened};
use crate::journal::testing::{ids, record, records, started};
use crate::model::forward::Owner;

fn open(dir: &Path) -> Opened {
    let opened = recover::open(dir, started()).expect("opens");
    assert!(opened.quarantined.is_none(), "{:?}", opened.quarantined);
    opened
}

/// The records that a start finds after a crash, which leaves the database unclosed.
fn after_crash(store: Store, dir: &Path) -> Vec<Record> {
    drop(store);
    open(dir).records
}

#[test]
fn intended_records_are_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut store = open(dir.path()).store;
    store.intend(&records(1..=100)).expect("intends");
    assert_eq!(store.records(), sorted(records(1..=100)));
    assert_eq!(after_crash(store, dir.path()), sorted(records(1..=100)));
}

fn sorted(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by_key(Record::id);
    records
}

/// Every operation on every state: none, intended, applied, removing.
#[test]
fn the_transition_table_of_a_record_holds() {
    use RecordState::{Applied, Intended, Removing};
    type Operation = fn(&mut Store, &[RuleId]) -> Result<(), JournalError>;
    let operations: [(&str, Operation, [Option<RecordState>; 4]); 4] = [
        (
            "intend",
            |store, _| store.intend(&records(1..=1)),
            [Some(Intended); 4],
        ),
        (
            "commit",
            |store, ids| store.commit(ids),
            [None, Some(Applied), Some(Applied), Some(Removing)],
        ),
        (
            "removing",
            |store, ids| store.removing(ids),
            [None, Some(Removing), Some(Removing), Some(Removing)],
        ),
        ("forget", |store, ids| store.forget(ids), [None; 4]),
    ];
    let dir = tempfile::tempdir().expect("tempdir");
    let mut store = open(dir.path()).store;
    for (name, operation, results) in operations {
        let before = [None, Some(Intended), Some(Applied), Some(Removing)];
        for (before, expected) in before.into_iter().zip(results) {
            store.forget(&ids(1..=1)).expect("forgets");
            if let Some(state) = before {
                let mut record = record(1);
                record.state = state;
                store.intend(&[record]).expect("intends");
            }
            operation(&mut store, &ids(1..=1)).expect("succeeds");
            let after = store.records().first().map(|record| record.state);
            assert_eq!(after, expected, "{name} of {before:?}");
        }
    }
}

#[test]
fn unknown_ids_are_ignored_and_raise_no_generation() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut store = open(dir.path()).store;
    store.intend(&records(1..=2)).expect("intends");
    let generation = store.generation();
    store.commit(&ids(7..=9)).expect("commits");
    store.removing(&ids(7..=9)).expect("marks");
    store.forget(&ids(7..=9)).expect("forgets");
    store.intend(&[]).expect("intends nothing");
    assert_eq!(store.generation(), generation);
    store.forget(&ids(2..=9)).expect("forgets the one it knows");
    assert_eq!(store.generation(), generation + 1);
    assert_eq!(after_crash(store, dir.path()), records(1..=1));
}

#[test]
fn a_batch_that_names_a_rule_twice_counts_it_once() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut store = open(dir.path()).store;
    let mut later = record(1);
    later.inserted_at += 1;
    store.intend(&[record(1), later.clone()]).expect("intends");
    let twice = [later.id(), later.id()];
    store.commit(&twice).expect("commits");
    later.state = RecordState::Applied;
    assert_eq!(after_crash(store, dir.path()), [later]);
    let mut store = open(dir.path()).store;
    store.forget(&twice).expect("forgets");
    assert_eq!(after_crash(store, dir.path()), []);
}

#[test]
fn the_generation_counts_on_across_restarts() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut store = open(dir.path()).store;
    let first = store.generation();
    store.intend(&records(1..=1)).expect("intends");
    store.commit(&ids(1..=1)).expect("commits");
    store.close().expect("closes");
    assert_eq!(open(dir.path()).store.generation(), first + 2);
}

#[test]
fn a_journal_removed_while_open_is_rebuilt_with_all_its_records() {
    let dir = tempfile::tempdir().expect("tempdir");
    for (n, removed) in ["journal", "journal/db", "journal.marker", ""]
        .iter()
        .enumerate()
    {
        let state = dir.path().join(n.to_string());
        let mut store = open(&state).store;
        store.intend(&records(1..=20)).expect("intends");
        let gone = if removed.is_empty() {
            state.clone()
        } else {
            state.join(removed)
        };
        layout::remove(&gone).expect("removes");
        store
            .intend(&records(21..=21))
            .expect("repairs and intends");
        assert_eq!(
            after_crash(store, &state),
            sorted(records(1..=21)),
            "{removed}"
        );
        let mode = fs::metadata(&state).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}

#[test]
fn a_journal_removed_while_open_is_rebuilt_without_a_change() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut store = open(dir.path()).store;
    store.intend(&records(1..=20)).expect("intends");
    store.keep_in_place().expect("is there");
    let journal = dir.path().join("journal");
    let other = dir.path().join("other");
    fs::rename(&journal, &other).expect("renames");
    store.keep_in_place().expect("writes");
    assert!(store.dir.quarantines().expect("lists").is_empty());
    // A database that somebody else puts there is kept.
    layout::remove(&journal).expect("removes");
    fs::rename(&other, &journal).expect("renames");
    store.keep_in_place().expect("writes");
    assert_eq!(store.dir.quarantines().expect("lists").len(), 1);
    assert_eq!(after_crash(store, dir.path()), sorted(records(1..=20)));
}

#[test]
fn after_a_failure_the_next_change_repairs_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut store = open(dir.path()).store;
    store.intend(&records(1..=50)).expect("intends");
    store.commit(&ids(1..=50)).expect("commits");
    let expected = store.records();
    for damaged in [false, true, false] {
        // A failed change leaves the store like this.
        store.database = None;
        store.damaged = damaged;
        store.forget(&ids(50..=50)).expect("repairs and forgets");
        assert!(store.is_healthy());
        store
            .intend(&[expected_of(&expected, 50)])
            .expect("intends");
    }
    assert_eq!(store.dir.quarantines().expect("lists").len(), 1);
    assert_eq!(store.records(), expected);
    assert_eq!(after_crash(store, dir.path()), expected);
}

fn expected_of(records: &[Record], port: u16) -> Record {
    let id = record(port).id();
    let found = records.iter().find(|record| record.id() == id);
    found.expect("one of them").clone()
}

#[test]
fn an_error_of_the_database_is_reported_and_not_acknowledged() {
    let dir = tempfile::tempdir().expect("tempdir");
    let state = dir.path().join("state");
    let mut store = open(&state).store;
    store.intend(&records(1..=5)).expect("intends");
    layout::remove(&state).expect("removes");
    fs::write(&state, "a file in its place").expect("writes");
    for _ in 0..2 {
        let error = store.intend(&records(6..=9)).expect_err("must fail");
        assert_eq!(error.operation, "recording the intent of 4 records");
        assert!(error.detail.contains("is not a directory"), "{error}");
        assert_eq!(store.records(), sorted(records(1..=5)));
        assert!(!store.is_healthy());
    }
    fs::remove_file(&state).expect("removes");
    store.intend(&records(6..=9)).expect("heals");
    assert_eq!(after_crash(store, &state), sorted(records(1..=9)));
}

#[test]
fn a_record_that_does_not_fit_is_refused_and_the_journal_stays_usable() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut store = open(dir.path()).store;
    let mut large = record(1);
    for n in 0..1000 {
        let owner = Owner::new(format!("{n:064x}"), "web", "bridge");
        large.owned.owners.insert(owner);
    }
    store.intend(&[record(2), large]).expect_err("too large");
    assert!(store.is_healthy() && store.is_empty());
    store.intend(&[record(2)]).expect("intends");
    assert_eq!(store.len(), 1);
}

/// As after months of work: sled compacts its log, which does not grow without end.
#[test]
fn the_database_does_not_grow_with_the_number_of_changes() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut store = open(dir.path()).store;
    let db = dir.path().join("journal/db");
    let mut largest = 0;
    for round in 0..300 {
        let ports = round * 10 + 1..=round * 10 + 30;
        store.intend(&records(ports.clone())).expect("intends");
        store.commit(&ids(ports.clone())).expect("commits");
        store.forget(&ids(ports)).expect("forgets");
        largest = largest.max(fs::metadata(&db).expect("there").len());
    }
    assert!(largest < 8 * 1024 * 1024, "{largest} bytes");
}

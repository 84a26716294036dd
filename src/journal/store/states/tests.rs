//! What very many records become: noted, found again, dropped where it is not right any more.

use std::path::Path;

use proptest::prelude::*;

use crate::journal::Journal;
use crate::journal::codec::states::SUMMARY_KEY;
use crate::journal::codec::{self, Sentinel};
use crate::journal::record::{Record, RecordState, step_one};
use crate::journal::record::{RecordEvent, Records};
use crate::journal::recover::{self, Opened};
use crate::journal::store::{Changes, Database, Store};
use crate::journal::testing::{ids, records, started};

const SOME: u16 = 200;

fn open(dir: &Path) -> Opened {
    let opened = recover::open(dir, started()).expect("opens");
    assert!(opened.quarantined.is_none(), "{:?}", opened.quarantined);
    opened
}

/// The state of each record that a start finds after a crash.
fn states_after_crash(store: Store, dir: &Path) -> Vec<(Record, RecordState)> {
    drop(store);
    let records = open(dir).records.into_iter();
    records
        .map(|record| (record.clone(), record.state))
        .collect()
}

fn database(dir: &Path) -> Database {
    Database::open(&dir.join("journal")).expect("opens")
}

/// The records as an earlier release reads them, and what is noted of them.
fn written(dir: &Path) -> (Vec<Record>, usize) {
    let database = database(dir);
    let mut records = Vec::new();
    let read = |key: &[u8], value: &[u8]| {
        if key != codec::SENTINEL_KEY {
            records.push(codec::decode(key, value).expect("a record"));
        }
    };
    database.scan(read).expect("reads");
    (records, database.states().expect("reads").len())
}

#[test]
fn what_very_many_records_become_is_noted_and_found_again() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut store = open(dir.path()).store;
    store.intend(&records(1..=SOME)).expect("intends");
    store.commit(&ids(1..=SOME)).expect("commits");
    store.removing(&ids(1..=150)).expect("marks");
    store.forget(&ids(1..=100)).expect("forgets");
    let held = store.records();
    let found = states_after_crash(store, dir.path());
    assert_eq!(
        found.iter().map(|(it, _)| it.clone()).collect::<Vec<_>>(),
        held
    );
    let count = |state| found.iter().filter(|(_, it)| *it == state).count();
    assert_eq!(
        (count(RecordState::Removing), count(RecordState::Applied)),
        (50, 50)
    );
    let (records, notes) = written(dir.path());
    assert_eq!(records.len(), usize::from(SOME));
    assert!(
        records
            .iter()
            .all(|record| record.state == RecordState::Intended)
    );
    assert!(notes > 1);
}

#[test]
fn a_record_that_is_written_anew_has_no_note_of_before() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut store = open(dir.path()).store;
    store.intend(&records(1..=SOME)).expect("intends");
    store.forget(&ids(1..=SOME)).expect("forgets");
    assert!(store.is_empty());
    store.intend(&records(1..=1)).expect("intends");
    let found = states_after_crash(store, dir.path());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1, RecordState::Intended);
    let mut store = open(dir.path()).store;
    store.intend(&records(1..=SOME)).expect("intends");
    // Nothing is noted any more.
    drop(store);
    assert_eq!(written(dir.path()).1, 0);
}

/// As an earlier release does: it knows of no notes.
#[test]
fn notes_are_dropped_once_a_release_that_does_not_know_them_has_written() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut store = open(dir.path()).store;
    store.intend(&records(1..=SOME)).expect("intends");
    store.commit(&ids(1..=SOME)).expect("commits");
    store.forget(&ids(1..=100)).expect("forgets");
    let generation = store.generation() + 1;
    drop(store);
    let database = database(dir.path());
    let sentinel = codec::encode_sentinel(Sentinel {
        generation,
        live: SOME.into(),
    });
    let records = vec![(codec::SENTINEL_KEY.to_vec(), Some(sentinel))];
    let changes = Changes {
        records,
        ..Changes::default()
    };
    database.apply(changes).expect("applies");
    drop(database);
    let opened = open(dir.path());
    assert_eq!(opened.records.len(), usize::from(SOME));
    let is_intended = |record: &Record| record.state == RecordState::Intended;
    assert!(opened.records.iter().all(is_intended));
    drop(opened);
    assert_eq!(written(dir.path()).1, 0);
}

#[test]
fn damaged_notes_are_damage_of_the_journal() {
    let harms: [fn(&mut Changes, Vec<u8>); 3] = [
        |changes, key| changes.states.push((key, Some(b"noise".to_vec()))),
        // A group is missing.
        |changes, key| changes.states.push((key, None)),
        // A note of a record that is not there.
        |changes, key| changes.records.push((key, None)),
    ];
    for (number, harm) in harms.into_iter().enumerate() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut store = open(dir.path()).store;
        store.intend(&records(1..=SOME)).expect("intends");
        store.commit(&ids(1..=SOME)).expect("commits");
        let generation = store.generation();
        drop(store);
        let database = database(dir.path());
        let mut changes = Changes::default();
        let notes = database.states().expect("reads").into_iter();
        let key = match number {
            0 | 1 => notes.map(|(key, _)| key).find(|key| key != SUMMARY_KEY),
            _ => Some(ids(1..=1)[0].as_bytes().to_vec()),
        };
        harm(&mut changes, key.expect("some"));
        if !changes.records.is_empty() {
            let live = u64::from(SOME) - 1;
            let sentinel = codec::encode_sentinel(Sentinel { generation, live });
            let sentinel = (codec::SENTINEL_KEY.to_vec(), Some(sentinel));
            changes.records.push(sentinel);
        }
        database.apply(changes).expect("applies");
        database.close().expect("closes");
        let opened = recover::open(dir.path(), started()).expect("opens");
        let quarantined = opened.quarantined.expect("quarantined");
        assert_eq!(
            quarantined.salvaged.len(),
            usize::from(SOME) - usize::from(number == 2)
        );
    }
}

#[test]
fn a_rebuilt_database_needs_no_notes() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut store = open(dir.path()).store;
    store.intend(&records(1..=SOME)).expect("intends");
    store.commit(&ids(1..=SOME)).expect("commits");
    store.forget(&ids(1..=100)).expect("forgets");
    std::fs::remove_dir_all(dir.path().join("journal")).expect("removes");
    store.keep_in_place().expect("rebuilds");
    let held = store.records();
    store.close().expect("closes");
    assert_eq!(written(dir.path()), (held, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn few_or_many_at_once_a_start_finds_what_was_acknowledged(
        steps in prop::collection::vec((1_u16..300, 1_u16..200, 0_u8..5), 1..12)
    ) {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut store = open(dir.path()).store;
        let mut expected = Records::new();
        for (first, count, what) in steps {
            let ports = first..=first + count;
            let event = match what {
                0 => RecordEvent::Commit,
                1 => RecordEvent::Remove,
                2 => RecordEvent::Forget,
                3 => {
                    store.intend(&records(ports.clone())).expect("intends");
                    expected.extend(records(ports).into_iter().map(|it| (it.id(), it)));
                    continue;
                }
                _ => {
                    drop(store);
                    store = open(dir.path()).store;
                    continue;
                }
            };
            let ids = ids(ports);
            match event {
                RecordEvent::Commit => store.commit(&ids),
                RecordEvent::Remove => store.removing(&ids),
                _ => store.forget(&ids),
            }.expect("is written");
            for id in ids {
                // One that does not fit changes nothing.
                let _ = step_one(&mut expected, id, event);
            }
        }
        let expected: Vec<Record> = expected.into_values().collect();
        prop_assert_eq!(store.records(), expected.clone());
        drop(store);
        prop_assert_eq!(open(dir.path()).records, expected);
    }
}

#[test]
fn what_is_gone_does_not_outlast_a_clean_end() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut store = open(dir.path()).store;
    store.intend(&records(1..=2_000)).expect("intends");
    store.commit(&ids(1..=2_000)).expect("commits");
    store.forget(&ids(2..=2_000)).expect("forgets");
    store.close().expect("closes");
    let (records, notes) = written(dir.path());
    assert_eq!((records.len(), notes), (1, 0));
    let opened = open(dir.path());
    assert_eq!(opened.records.len(), 1);
    assert_eq!(opened.records[0].state, RecordState::Applied);
}

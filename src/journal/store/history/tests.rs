//! The history of a store: what goes into it, how large it becomes, and what outlives what.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::journal::Journal;
use crate::journal::history::closing::EndReason;
use crate::journal::history::past::Past;
use crate::journal::recover::{self, Opened};
use crate::journal::store::Store;
use crate::journal::testing::{ids, record, records, started};
use crate::mapper::forwards::samples;
use crate::model::container::Snapshot;
use crate::model::intent::Intent;

mod images;

fn open(dir: &Path) -> Opened {
    let opened = recover::open(dir, started()).expect("opens");
    assert!(opened.quarantined.is_none(), "{:?}", opened.quarantined);
    opened
}

/// Everything that a reader gets.
fn all(store: &Store) -> StoredHistory {
    let mut all = store.history_after(0).expect("readable");
    loop {
        let after = all.entries.last().map_or(0, |(number, _)| *number);
        let page = store.history_after(after).expect("readable");
        if page.entries.is_empty() {
            return all;
        }
        all.entries.extend(page.entries);
    }
}

/// Why each port was closed, by the entries.
#[track_caller]
fn ended(history: &StoredHistory) -> Vec<(u16, u64, EndReason)> {
    let past = Past::read(history);
    assert_eq!(past.broken, None);
    let closings = past.closings.into_iter();
    let ports = closings.flat_map(|(_, it)| {
        let ports = it
            .ports
            .into_iter()
            .flat_map(|run| run.first.port..=run.last);
        ports.map(move |port| (port, it.to, it.reason))
    });
    ports.collect()
}

/// Opens and closes these ports.
fn open_and_close(store: &mut Store, ports: std::ops::RangeInclusive<u16>) {
    store.intend(&records(ports.clone())).expect("intends");
    store.commit(&ids(ports.clone())).expect("commits");
    store.removing(&ids(ports.clone())).expect("marks");
    store.forget(&ids(ports)).expect("forgets");
}

#[test]
fn a_forward_goes_into_the_history_when_its_record_goes_and_only_if_it_was_open() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut store = open(dir.path()).store;
    // Nobody keeps a history yet.
    open_and_close(&mut store, 1..=1);
    store.because(Cause::Leaving, 100);
    open_and_close(&mut store, 2..=2);
    store.intend(&records(3..=5)).expect("intends");
    store.commit(&ids(4..=4)).expect("commits");
    store.because(Cause::Unknown, 200);
    store.forget(&ids(3..=9)).expect("forgets");
    store.forget(&ids(1..=9)).expect("forgets nothing");
    let expected = [
        (2, 100, EndReason::DaemonLeft),
        (4, 200, EndReason::RuleGone),
    ];
    assert_eq!(ended(&all(&store)), expected);
    // A crash, and a close.
    drop(store);
    let store = open(dir.path()).store;
    assert_eq!(ended(&all(&store)), expected);
    store.close().expect("closes");
    let mut store = open(dir.path()).store;
    store.because(Cause::Leaving, 300);
    open_and_close(&mut store, 6..=6);
    assert_eq!(ended(&all(&store)).len(), 3);
    drop(store);
    let copy = recover::snapshot_copy(dir.path(), dir.path()).expect("reads");
    assert_eq!(ended(&copy.history)[2], (6, 300, EndReason::DaemonLeft));
}

#[test]
fn a_container_that_gives_up_a_rule_goes_into_the_history_and_the_rule_stays() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut store = open(dir.path()).store;
    store.because(Cause::Unknown, 100);
    store.intend(&records(1..=1)).expect("intends");
    store.commit(&ids(1..=1)).expect("commits");
    let mut other = record(1);
    other.state = RecordState::Applied;
    other.owned.owners =
        std::collections::BTreeSet::from([Owner::new("other", "db", "bridge")]).into();
    store.intend(&[other.clone()]).expect("has another owner");
    let read = Past::read(&all(&store)).closings;
    let id = |at: usize| {
        let container = &read[at].1.container;
        container.as_ref().map(|owner| owner.container_id.clone())
    };
    assert_eq!((read.len(), id(0)), (1, Some(format!("{:064x}", 1))));
    // Written again as it is, it has not ended; put in anew, it had.
    store.intend(&[other.clone()]).expect("is as it was");
    assert_eq!(ended(&all(&store)).len(), 1);
    other.state = RecordState::Intended;
    store.intend(&[other]).expect("intends");
    assert_eq!(ended(&all(&store)).len(), 2);
    assert_eq!(store.len(), 1);
}

#[test]
fn the_history_has_a_bound_and_its_seals_hold_when_it_is_cut() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut store = open(dir.path()).store;
    store.because(Cause::Leaving, 100);
    let mut most = 0;
    // Each port is another container's.
    for round in 0..25 {
        let ports = round * 500 + 1..=(round + 1) * 500;
        store.intend(&applied(ports.clone())).expect("writes");
        store.forget(&ids(ports)).expect("forgets");
        let ends = store.history_after(u64::MAX).expect("readable");
        most = most.max(ends.head.number - ends.anchor.number);
    }
    let history = all(&store);
    assert_eq!(history.head.number, 12_500);
    assert!((9_000..=10_000).contains(&most), "{most}");
    assert!(history.bytes() <= MOST_BYTES);
    let kept = history.head.number - history.anchor.number;
    assert_eq!(
        (history.entries.len() as u64, ended(&history).len()),
        (kept, history.entries.len())
    );
    // It is cut in the database, too, and what is left has the anchor of what is not.
    drop(store);
    let store = open(dir.path()).store;
    assert_eq!(all(&store), history);
}

fn applied(ports: std::ops::RangeInclusive<u16>) -> Vec<Record> {
    let mut records = records(ports);
    for record in &mut records {
        record.state = RecordState::Applied;
    }
    records
}

#[test]
fn the_history_is_in_every_new_database() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut store = open(dir.path()).store;
    store.because(Cause::Leaving, 100);
    open_and_close(&mut store, 1..=40);
    let before = all(&store);
    // The journal is removed while it is open.
    crate::journal::layout::remove(&dir.path().join("journal")).expect("removes");
    store.keep_in_place().expect("builds a new one");
    assert_eq!(all(&store), before);
    open_and_close(&mut store, 41..=41);
    assert_eq!(ended(&all(&store)).len(), 41);
    drop(store);
    let store = open(dir.path()).store;
    assert_eq!(ended(&all(&store)).len(), 41);
}

#[test]
fn an_altered_history_stays_as_it_is_and_says_so() {
    type Harm = fn(&Database);
    let harms: [(Harm, Option<&str>); 3] = [
        (
            |db| put(db, &chain::key(2), Some(b"x".to_vec())),
            Some("entry 2 is cut short"),
        ),
        (
            |db| put(db, &chain::key(2), None),
            Some("entry 2 is missing"),
        ),
        // Then its ends are those of its entries.
        (|db| put(db, ENDS_KEY, None), None),
    ];
    for (harm, expected) in harms {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut store = open(dir.path()).store;
        store.because(Cause::Leaving, 100);
        for port in 1..=3 {
            open_and_close(&mut store, port..=port);
        }
        store.close().expect("closes");
        let database = Database::open(&dir.path().join("journal")).expect("opens");
        harm(&database);
        database.close().expect("closes");
        let mut store = open(dir.path()).store;
        store.because(Cause::Leaving, 200);
        open_and_close(&mut store, 4..=4);
        let broken = Past::read(&all(&store)).broken;
        assert_eq!(broken.as_deref(), expected);
    }
}

fn put(database: &Database, key: &[u8], value: Option<Vec<u8>>) {
    let history = vec![(key.to_vec(), value)];
    let change = super::super::Changes {
        history,
        ..super::super::Changes::default()
    };
    database.apply(change).expect("changes");
}

#[test]
fn a_container_that_goes_on_without_its_network_has_not_ended() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut store = open(dir.path()).store;
    let owner = record(1).owned.owners.first().expect("an owner").clone();
    #[derive(Clone, Copy)]
    enum Shown {
        InterfaceGone,
        WithoutNetwork,
        BackAgain,
        StartedAnew,
        Nothing,
    }
    let round = |shown: Shown| {
        let mut snapshot = Snapshot::default();
        if !matches!(shown, Shown::Nothing) {
            let mut container = samples::container(&owner.container_id);
            container.start.at = 1;
            container.endpoints[0].network = owner.network.clone();
            match shown {
                Shown::InterfaceGone => container.endpoints[0].left = true,
                Shown::WithoutNetwork => container.endpoints.clear(),
                Shown::StartedAnew => container.start.at = 2,
                Shown::BackAgain | Shown::Nothing => {}
            }
            let id = container.id.clone();
            snapshot.containers.insert(id, container.into());
        }
        let remaining = Remaining::new(Some(snapshot.into()), Default::default());
        Cause::Round {
            intent: Arc::new(Intent::nothing()),
            remaining: remaining.into(),
            stands_by: false,
            began: 100,
        }
    };
    let reasons = |store: &Store| -> Vec<EndReason> {
        let ended = ended(&all(store));
        ended.into_iter().map(|(_, _, reason)| reason).collect()
    };
    use EndReason::{ContainerEnded, LeftNetwork};
    let answers = [
        (Shown::WithoutNetwork, LeftNetwork),
        (Shown::BackAgain, LeftNetwork),
        (Shown::StartedAnew, ContainerEnded),
        (Shown::Nothing, ContainerEnded),
    ];
    for (answer, expected) in answers {
        store.because(round(Shown::InterfaceGone), 100);
        open_and_close(&mut store, 1..=1);
        assert!(store.is_unsure());
        store.correct_history().expect("has nothing to correct");
        assert_eq!(reasons(&store).last(), Some(&ContainerEnded));
        store.because(round(answer), 101);
        store.correct_history().expect("corrects");
        assert_eq!(reasons(&store).last(), Some(&expected));
        // The answer comes with the next change, too.
        store.because(round(Shown::InterfaceGone), 102);
        open_and_close(&mut store, 1..=1);
        store.because(round(answer), 103);
        store.intend(&records(2..=2)).expect("writes");
        assert_eq!(reasons(&store).last(), Some(&expected));
        assert!(!store.is_unsure());
    }
    assert_eq!(all(&store).head.number, 12);
    assert_eq!(Past::read(&all(&store)).broken, None);
}

#[test]
fn entries_that_cannot_be_read_any_more_are_lost_and_the_next_one_says_so() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut store = open(dir.path()).store;
    let lose = |store: &mut Store| {
        store.database = None;
        store.history.save(Err("the disk has failed".to_owned()));
        store.keep_in_place().expect("builds a new one");
        store.take_losses()
    };
    store.because(Cause::Leaving, 100);
    assert_eq!(lose(&mut store), [], "there were none");
    open_and_close(&mut store, 1..=2);
    open_and_close(&mut store, 3..=3);
    store.because(Cause::Unknown, 200);
    let loss = Loss {
        entries: Some((1, 3)),
        at: 200,
        why: "the disk has failed".to_owned(),
    };
    assert_eq!(lose(&mut store), std::slice::from_ref(&loss));
    assert_eq!(store.take_losses(), []);
    open_and_close(&mut store, 4..=4);
    let past = Past::read(&all(&store));
    assert_eq!(past.broken, None);
    let found = past.losses.first().map(|(link, loss)| (link.number, loss));
    assert_eq!(found, Some((4, &loss)));
    assert_eq!(ended(&all(&store)), [(4, 200, EndReason::RuleGone)]);
}

#[test]
fn a_journal_that_is_begun_anew_without_its_history_says_so_there() {
    type Harm = fn(&Path);
    let harms: [(Harm, &str); 3] = [
        (
            |dir| {
                let journal = dir.join("journal");
                crate::journal::layout::remove(&journal).expect("removes");
                crate::journal::layout::make_private(&journal).expect("makes");
            },
            "the sentinel is missing",
        ),
        (
            |dir| crate::journal::layout::remove(&dir.join("journal")).expect("removes"),
            "the database has vanished",
        ),
        (
            |dir| std::fs::write(dir.join("journal/db"), [7; 9_000]).expect("writes"),
            "",
        ),
    ];
    for (harm, why) in harms {
        let dir = tempfile::tempdir().expect("tempdir");
        let first = open(dir.path());
        assert_eq!(first.loss, None);
        let mut store = first.store;
        store.because(Cause::Leaving, 100);
        open_and_close(&mut store, 1..=1);
        store.close().expect("closes");
        harm(dir.path());
        let opened = recover::open(dir.path(), started()).expect("opens");
        assert!(opened.quarantined.is_some());
        let loss = opened.loss.expect("it is lost");
        assert!(loss.entries.is_none() && loss.why.contains(why), "{loss:?}");
        let past = Past::read(&all(&opened.store));
        assert_eq!((past.broken, past.closings.len()), (None, 0));
        assert_eq!(past.losses.len(), 1);
        assert_eq!(past.losses[0].1, loss);
        // It is said once.
        drop(opened.store);
        assert_eq!(open(dir.path()).loss, None);
    }
}

#[test]
fn a_slow_disk_does_not_let_a_port_be_open_twice() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut store = open(dir.path()).store;
    let round = |began| Cause::Round {
        intent: Arc::new(Intent::new(Default::default(), None)),
        remaining: Arc::default(),
        stands_by: false,
        began,
    };
    let id = ids(1..=1);
    store.because(round(100), 107);
    open_and_close(&mut store, 1..=1);
    let opened_anew = Record {
        inserted_at: 100,
        ..record(1)
    };
    store.intend(&[opened_anew]).expect("intends");
    store.commit(&id).expect("commits");
    store.because(Cause::Leaving, 120);
    store.forget(&id).expect("forgets");
    let expected = [
        (1, 100, EndReason::RuleGone),
        (1, 120, EndReason::DaemonLeft),
    ];
    assert_eq!(ended(&all(&store)), expected);
}

//! What is owed to the journal, and when it is paid.

use slog::{Discard, Logger, o};

use super::super::owed::Owed;
use super::super::*;
use super::machine::{Fate, Machine, Mishap, wish};
use crate::backend::ErrorKind;
use crate::journal::memory::MemoryJournal;
use crate::journal::record::RecordState;

/// The record of a forward.
fn record(port: u16, owner: char, state: RecordState) -> Record {
    let rules = wish(&[(port, 2, owner)]).rules.into_values();
    let mut forwards = rules.filter(|owned| !owned.rule.is_static());
    Record {
        owned: forwards.next().expect("one"),
        state,
        inserted_at: 1,
        boot_id: BootId::new("this"),
    }
}

fn pay(owed: &mut Owed, journal: &mut MemoryJournal, records: &[&Record]) {
    let records: BTreeMap<_, _> = records.iter().map(|r| (r.id(), (*r).clone())).collect();
    owed.pay(journal, &records, &Logger::root(Discard, o!()));
}

#[test]
fn the_last_debt_of_each_rule_is_paid() {
    use RecordState::{Applied, Intended};
    let (mut owed, mut journal) = (Owed::default(), MemoryJournal::default());
    let [first, second, third] = [80, 81, 82].map(|port| record(port, 'a', Applied));
    let intents = [81, 82].map(|port| record(port, 'a', Intended));
    journal.intend(&intents).unwrap();
    owed.forget(first.id());
    owed.record(first.id());
    owed.commit(second.id());
    owed.commit(third.id());
    owed.forget(third.id());
    assert_eq!((owed.len(), owed.is_due()), (3, true));
    pay(&mut owed, &mut journal, &[&first, &second]);
    assert_eq!((owed.len(), owed.is_due()), (0, false));
    let mut expected = vec![first, second];
    expected.sort_by_key(Record::id);
    assert_eq!(journal.records(), expected);
}

#[test]
fn a_debt_that_cannot_be_paid_stays_until_a_later_round() {
    let (mut owed, mut journal) = (Owed::default(), MemoryJournal::default());
    let one = record(80, 'a', RecordState::Applied);
    owed.record(one.id());
    journal.fail_after(Some(0));
    pay(&mut owed, &mut journal, &[&one]);
    assert_eq!(
        (owed.len(), owed.is_behind(), owed.is_due()),
        (1, true, false)
    );
    // Not tried again in this round.
    journal.fail_after(None);
    pay(&mut owed, &mut journal, &[&one]);
    assert_eq!(journal.records(), []);
    assert!(owed.end_round().is_some());
    pay(&mut owed, &mut journal, &[&one]);
    assert_eq!((owed.len(), owed.is_behind()), (0, false));
    assert_eq!(journal.records(), [one]);
}

#[test]
fn a_lost_rule_needs_no_new_intent_until_the_round_ends() {
    let applied = record(80, 'a', RecordState::Applied);
    let mut owed = Owed::default();
    owed.lose(applied.id(), applied.clone());
    assert!(owed.holds(applied.id(), &applied) && !owed.is_due());
    assert!(!owed.holds(applied.id(), &record(80, 'b', RecordState::Applied)));
    owed.forget_lost();
    assert!(!owed.holds(applied.id(), &applied) && owed.is_due());

    // The journal may not hold these.
    let mut owed = Owed::default();
    let intended = record(81, 'a', RecordState::Intended);
    owed.lose(intended.id(), intended.clone());
    owed.record(applied.id());
    owed.lose(applied.id(), applied.clone());
    assert!(!owed.holds(intended.id(), &intended) && !owed.holds(applied.id(), &applied));
}

/// The fifth step of a first start is the commit, the second is the intent.
#[test]
fn a_failed_commit_is_paid_in_the_same_round_and_a_failed_intent_is_reported() {
    for (step, is_converged) in [(4, true), (1, false)] {
        let machine = Machine::new();
        let mut daemon = machine.daemon(&Fate::new(&[(step, Mishap::FailedBefore)]));
        daemon.recover(Vec::new(), Vec::new(), 1);
        let one = wish(&[(80, 2, 'a')]);
        let report = daemon.converge(&one, 1);
        assert_eq!(report.is_converged(), is_converged, "{report:?}");
        assert!(report.is_kernel_settled(), "{report:?}");
        assert_eq!(daemon.owed() > 0, !is_converged);
        assert!(daemon.converge(&one, 2).is_converged());
        assert_eq!(daemon.owed(), 0);
        machine.must_match(&one, &step);
    }
}

#[test]
fn a_journal_that_is_behind_is_reported_even_if_the_kernel_cannot_be_listed() {
    let machine = Machine::new();
    let mut daemon = machine.daemon(&Fate::default());
    daemon.recover(Vec::new(), Vec::new(), 1);
    let (one, none) = (wish(&[(80, 2, 'a')]), wish(&[]));
    assert!(daemon.converge(&one, 1).is_converged());
    machine.journal.fail_after(Some(0));
    assert!(!daemon.converge(&none, 2).is_converged());
    machine.kernel.listing_fails(Some(ErrorKind::Busy));
    daemon.invalidate();
    let report = daemon.converge(&none, 3);
    let both = matches!(
        report.troubles[..],
        [Trouble::Listing(_), Trouble::Journal(_)]
    );
    assert!(both, "{report:?}");
    machine.kernel.listing_fails(None);
    machine.journal.fail_after(None);
    assert!(daemon.converge(&none, 4).is_converged());
    machine.must_match(&none, &"both are back");
}

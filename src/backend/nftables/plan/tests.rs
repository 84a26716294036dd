//! The steps of a batch.

use super::super::parse::TableHeader;
use super::super::testing::{prefix, tcp};
use super::*;
use crate::netlink::nf_tables::table::{OWNED, OWNER_FLAG};

const OPTIONS: TableOptions = TableOptions {
    flags: OWNED,
    size: 4,
};
const PORT: u32 = 77;

fn insertion(rules: &[Rule]) -> Batch {
    Batch {
        insert: rules.to_vec(),
        ..Batch::default()
    }
}

/// The state after these insertions into nothing.
fn state(rules: &[Rule]) -> TableState {
    let batch = insertion(rules);
    let mut state = TableState::default();
    let steps = steps(&state, &batch, OPTIONS).expect("ours");
    state.follow(&steps, &batch, PORT);
    state
}

fn removal(state: &TableState, gone: &[Rule]) -> Batch {
    let mut remove = state.observed();
    remove.retain(|seen| gone.iter().any(|rule| rule.id() == seen.id));
    Batch {
        remove,
        ..Batch::default()
    }
}

fn size_of(steps: &[Step], wanted: Set) -> Option<u32> {
    steps.iter().find_map(|step| match step {
        Step::Set(set, size) if *set == wanted => Some(*size),
        _ => None,
    })
}

#[test]
fn the_table_comes_with_the_first_element_and_goes_with_the_last() {
    let first = steps(&TableState::default(), &insertion(&[tcp(1)]), OPTIONS).expect("ours");
    assert_eq!(first.first(), Some(&Step::Table { flags: OWNED }));
    assert_eq!(first.len(), Set::ALL.len() + 3);
    let two = state(&[tcp(1), prefix("fdfd::/64")]);
    let one_goes = steps(&two, &removal(&two, &[tcp(1)]), OPTIONS).expect("ours");
    assert!(matches!(one_goes[..], [Step::Remove(_)]));
    let both = removal(&two, &[tcp(1), prefix("fdfd::/64")]);
    assert_eq!(steps(&two, &both, OPTIONS), Ok(vec![Step::DropTable]));
    let mut replaced = both.clone();
    replaced.insert = vec![tcp(2)];
    let replaced = steps(&two, &replaced, OPTIONS).expect("ours");
    assert!(matches!(replaced[..], [Step::Remove(_), Step::Insert(_)]));
    // One of them twice is for the kernel to refuse.
    let mut twice = both;
    twice.remove[1] = twice.remove[0].clone();
    let twice = steps(&two, &twice, OPTIONS).expect("ours");
    assert!(matches!(twice[..], [Step::Remove(_)]));
}

#[test]
fn a_table_without_elements_is_one_thing_to_remove() {
    let mut empty = state(&[tcp(1)]);
    empty.rules = Default::default();
    let seen = empty.observed();
    assert_eq!(seen.len(), 1);
    let batch = Batch {
        remove: seen,
        ..Batch::default()
    };
    assert_eq!(steps(&empty, &batch, OPTIONS), Ok(vec![Step::DropTable]));
    assert_eq!(TableState::default().observed(), []);
    let gone = steps(&TableState::default(), &batch, OPTIONS).expect_err("nothing there");
    assert_eq!(gone.kind, ErrorKind::NotFound);
}

#[test]
fn a_set_grows_when_it_must_and_takes_its_elements_along() {
    let large = insertion(&(1..=9).map(tcp).collect::<Vec<_>>());
    let made = steps(&TableState::default(), &large, OPTIONS).expect("ours");
    assert_eq!(size_of(&made, Set::Forwards), Some(16));
    assert_eq!(size_of(&made, Set::ForwardsHost), Some(4));
    let full = state(&(1..=4).map(tcp).collect::<Vec<_>>());
    let grown = steps(&full, &insertion(&[tcp(5)]), OPTIONS).expect("ours");
    let [
        Step::FlushRules,
        Step::DropSet(Set::Forwards),
        Step::Set(Set::Forwards, 8),
        Step::Insert(all),
        Step::Chains,
    ] = &grown[..]
    else {
        panic!("{grown:?}");
    };
    assert_eq!(all.len(), 5);
    // One goes, one comes; and elements of other sets take no room.
    let mut replaced = removal(&full, &[tcp(1)]);
    replaced.insert = vec![tcp(5)];
    let replaced = steps(&full, &replaced, OPTIONS).expect("ours");
    assert!(matches!(replaced[..], [Step::Remove(_), Step::Insert(_)]));
    let other = steps(&full, &insertion(&[prefix("fdfd::/64")]), OPTIONS).expect("ours");
    assert!(matches!(other[..], [Step::Insert(_)]));
    let mut after = full;
    let batch = insertion(&[tcp(5)]);
    after.follow(&grown, &batch, PORT);
    assert_eq!(after.sets[&Set::Forwards], 8);
    assert_eq!(after.count(Set::Forwards), 5);
}

#[test]
fn what_is_ours_already_is_left_alone() {
    assert_eq!(adoption(&state(&[tcp(1)]), PORT, OPTIONS), []);
    assert_eq!(adoption(&TableState::default(), PORT, OPTIONS), []);
    let unowned = TableOptions {
        flags: 0,
        ..OPTIONS
    };
    let mut found = state(&[tcp(1)]);
    found.table = Some(TableHeader {
        flags: 0,
        owner: 0,
        objects: 18,
    });
    assert_eq!(adoption(&found, PORT, unowned), []);
}

#[test]
fn an_orphan_is_taken_over_with_its_elements_and_other_tables_are_made_anew() {
    let orphan = |flags, owner| {
        let mut found = state(&[tcp(1), prefix("fdfd::/64")]);
        found.table = Some(TableHeader {
            flags,
            owner,
            objects: 18,
        });
        found
    };
    let taken = adoption(&orphan(OWNED & !OWNER_FLAG, 0), PORT, OPTIONS);
    let flags = OWNED;
    assert_eq!(
        taken,
        [Step::Table { flags }, Step::FlushRules, Step::Chains]
    );
    let mut altered = orphan(OWNED, PORT);
    altered.has_our_chains = false;
    assert_eq!(adoption(&altered, PORT, OPTIONS), taken);
    let mut another_set = orphan(OWNED & !OWNER_FLAG, 0);
    another_set.is_ours_alone = false;
    for anew in [orphan(0, 0), orphan(OWNED, 5), another_set] {
        let made = adoption(&anew, PORT, OPTIONS);
        assert_eq!(made.first(), Some(&Step::DropTable));
        let Some(Step::Insert(kept)) = made.last() else {
            panic!("{made:?}");
        };
        assert_eq!(kept.len(), 2);
    }
}

#[test]
fn a_rule_or_locator_of_another_backend_is_refused() {
    let facts = tcp(1).facts.clone();
    let foreign = Rule::new(BackendKind::Ip6tables, &*tcp(1).text, facts);
    assert!(steps(&TableState::default(), &insertion(&[foreign]), OPTIONS).is_err());
    let full = state(&[tcp(1), tcp(2)]);
    for locator in [
        "",
        "nat -A PREROUTING",
        "forwards",
        "forwards 06",
        "x 0600000000500000",
    ] {
        let mut batch = removal(&full, &[tcp(1)]);
        batch.remove[0].locator = locator.into();
        assert!(steps(&full, &batch, OPTIONS).is_err(), "{locator}");
    }
}

//! Docker's NAT on and off, as the kernel showed it with Engine 20.10.

use std::collections::BTreeSet;

use super::*;

fn targets(ports: &[u16]) -> BTreeSet<Target> {
    let addr = "fdfd::2".parse().unwrap();
    ports.iter().map(|port| (addr, *port)).collect()
}

fn chain(ports: &[u16]) -> Native {
    Native {
        table: false,
        jump: true,
        targets: targets(ports),
    }
}

fn table(ports: &[u16]) -> Native {
    Native {
        table: true,
        jump: false,
        targets: targets(ports),
    }
}

/// One look: what the kernel shows, what is published, at which second, and the judgement.
type Look<'a> = (Native, Option<&'a [u16]>, u64, Stand);

fn judges(looks: &[Look<'_>]) -> Standby {
    let mut judge = Standby::default();
    for (n, (native, wanted, second, expected)) in looks.iter().enumerate() {
        let wanted = wanted.map(targets);
        let stand = judge.judge(native, wanted.as_ref(), Duration::from_secs(*second));
        assert_eq!(stand, *expected, "look {n}");
    }
    judge
}

#[test]
fn a_kernel_without_docker_rules_has_its_nat_off() {
    judges(&[
        (Native::default(), None, 0, Stand::Off),
        (Native::default(), Some(&[80]), 0, Stand::Off),
    ]);
}

#[test]
fn the_table_of_docker_bridges_decides_alone() {
    judges(&[
        (table(&[]), None, 0, Stand::On),
        (table(&[]), Some(&[80]), 9, Stand::On),
        (Native::default(), Some(&[80]), 10, Stand::Off),
        (table(&[]), Some(&[80]), 11, Stand::On),
    ]);
}

#[test]
fn before_docker_is_heard_a_chain_settles_nothing() {
    judges(&[
        (chain(&[80]), None, 0, Stand::Unsettled),
        (chain(&[80]), Some(&[80]), 1, Stand::On),
    ]);
}

#[test]
fn a_chain_that_was_left_behind_is_found_out_by_a_port_without_a_rule() {
    let judge = judges(&[
        (chain(&[]), Some(&[80]), 0, Stand::Unsettled),
        (chain(&[]), Some(&[80]), 2, Stand::Unsettled),
    ]);
    let second = Duration::from_secs(1);
    assert_eq!(judge.looks_again_in(2 * second), Some(second));
    let judge = judges(&[
        (chain(&[]), Some(&[80]), 0, Stand::Unsettled),
        (chain(&[]), Some(&[80]), 3, Stand::Off),
        (chain(&[]), Some(&[]), 4, Stand::Off),
        (chain(&[]), Some(&[81]), 5, Stand::Off),
    ]);
    assert_eq!(judge.looks_again_in(second), None);
}

#[test]
fn a_stale_rule_of_dockers_does_not_hide_a_port_without_one() {
    judges(&[
        (chain(&[80]), Some(&[80]), 0, Stand::On),
        (chain(&[80]), Some(&[80, 81]), 1, Stand::On),
        (chain(&[80]), Some(&[80, 81]), 4, Stand::Off),
    ]);
}

#[test]
fn once_found_out_a_stale_rule_of_dockers_says_no_more() {
    judges(&[
        (chain(&[80]), Some(&[80, 81]), 0, Stand::Unsettled),
        (chain(&[80]), Some(&[80, 81]), 3, Stand::Off),
        // The port without a rule goes, the next one comes: nothing is judged anew.
        (chain(&[80]), Some(&[80]), 4, Stand::Off),
        (chain(&[80]), Some(&[]), 5, Stand::Off),
        (chain(&[80]), Some(&[80, 82]), 6, Stand::Off),
        // A rule that was not there before: an Engine keeps the chain.
        (chain(&[80, 82]), Some(&[80, 82]), 7, Stand::On),
    ]);
}

#[test]
fn a_container_that_is_dying_does_not_end_the_standby() {
    judges(&[
        (chain(&[80]), Some(&[80]), 0, Stand::On),
        (chain(&[]), Some(&[80]), 1, Stand::On),
        (chain(&[]), Some(&[]), 2, Stand::On),
        // The next one starts the clock anew.
        (chain(&[]), Some(&[81]), 9, Stand::On),
        (chain(&[81]), Some(&[81]), 10, Stand::On),
        (chain(&[81]), Some(&[81]), 99, Stand::On),
    ]);
}

#[test]
fn an_engine_that_comes_back_with_its_nat_on_takes_over() {
    judges(&[
        (Native::default(), Some(&[80]), 0, Stand::Off),
        // It makes its chain before it makes rules.
        (chain(&[]), Some(&[80]), 1, Stand::On),
        (chain(&[80]), Some(&[80]), 2, Stand::On),
    ]);
    // With a chain left behind, its rules tell.
    judges(&[
        (chain(&[]), Some(&[80]), 0, Stand::Unsettled),
        (chain(&[]), Some(&[80]), 3, Stand::Off),
        (chain(&[80]), Some(&[80]), 4, Stand::On),
    ]);
}

#[test]
fn an_engine_that_comes_back_with_its_nat_off_hands_over() {
    judges(&[
        (chain(&[80]), Some(&[80]), 0, Stand::On),
        (chain(&[]), Some(&[]), 1, Stand::On),
        (chain(&[]), Some(&[80]), 2, Stand::On),
        (chain(&[]), Some(&[80]), 5, Stand::Off),
    ]);
}

#[test]
fn an_audit_names_what_stays_missing_and_what_is_too_much() {
    let (seen, wanted) = (table(&[80, 82]), targets(&[80, 81]));
    let mut judge = Standby::default();
    let mut audit = |second| {
        let now = Duration::from_secs(second);
        judge.judge(&seen, Some(&wanted), now);
        (
            judge.audit(&seen, Some(&wanted), now),
            judge.looks_again_in(now),
        )
    };
    let (at_once, again) = audit(1);
    assert_eq!(at_once.served, targets(&[80]));
    // A rule comes before the event that says what it is for.
    assert!(at_once.unserved.is_empty() && at_once.stray.is_empty());
    assert_eq!(again, Some(SETTLES_AFTER));
    let (settled, again) = audit(4);
    assert_eq!(settled.unserved, targets(&[81]));
    assert_eq!(settled.stray, targets(&[82]));
    assert_eq!(again, None);
}

#[test]
fn in_standby_nothing_is_wanted_and_unsettled_adds_nothing() {
    let mut desired = Desired::nothing();
    assert_eq!(
        *Stand::On.applies_to(&desired, |_| true),
        Desired::nothing()
    );
    desired.known.statics = false;
    let unsettled = Stand::Unsettled.applies_to(&desired, |_| false);
    assert_eq!(unsettled.known, desired.known);
    assert!(unsettled.rules.is_empty());
    assert_eq!(*Stand::Off.applies_to(&desired, |_| false), desired);
}

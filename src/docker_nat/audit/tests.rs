//! What the audit names, and when.

use super::super::since::SETTLES_AFTER;
use super::super::testing::{at, docker, podman, ports, published};
use super::*;
use crate::model::forward::Proto;

#[test]
fn an_audit_names_what_stays_missing_and_what_is_too_much() {
    let seen = docker(&[80, 82, 83, 84]);
    let wanted = Published {
        forwards: ports(&[80, 81, 83]),
        local: ports(&[84]),
        closed: ports(&[81, 83]),
        ..Published::default()
    };
    let mut auditor = Auditor::default();
    let mut audit = |second| {
        let audit = auditor.audit(StandbyState::On, &seen, Some(&wanted), at(second));
        (audit, auditor.changes_in(StandbyState::On, at(second)))
    };
    let (at_once, again) = audit(1);
    // Docker inserts a rule before it reports the container that the rule serves.
    let expected = Audit {
        served: ports(&[80, 83]),
        ..Audit::default()
    };
    assert_eq!(at_once, expected);
    assert_eq!(again, Some(SETTLES_AFTER));
    let (settled, again) = audit(4);
    assert_eq!(settled.unserved, ports(&[81]));
    assert_eq!(settled.stray, ports(&[82]));
    assert_eq!(settled.closed, ports(&[83]));
    assert_eq!(again, None);
}

#[test]
fn one_port_without_its_rule_is_named() {
    let mut auditor = Auditor::default();
    let mut audit = |seen: &DockerNat, wanted: &[u16], second| {
        auditor.audit(StandbyState::On, seen, Some(&published(wanted)), at(second))
    };
    audit(&docker(&[80, 81]), &[80, 81], 0);
    audit(&docker(&[80]), &[80, 81, 82], 1);
    let audit = audit(&docker(&[80]), &[80, 81, 82], 99);
    assert_eq!(audit.served, ports(&[80]));
    assert_eq!(audit.unserved, ports(&[81, 82]));
}

#[test]
fn what_is_not_served_counts_from_the_moment_when_dockers_nat_comes_on() {
    let mut auditor = Auditor::default();
    let mut unserved = |state, second| {
        let wanted = published(&[80]);
        let audit = auditor.audit(state, &docker(&[]), Some(&wanted), at(second));
        audit.unserved
    };
    assert_eq!(unserved(StandbyState::Off, 0), ports(&[]));
    assert_eq!(unserved(StandbyState::On, 9), ports(&[]));
    assert_eq!(unserved(StandbyState::On, 12), ports(&[80]));
    assert_eq!(unserved(StandbyState::Off, 13), ports(&[]));
    assert_eq!(unserved(StandbyState::On, 14), ports(&[]));
}

/// Podman shows a port without an address of its own as bound to `0.0.0.0`.
#[test]
fn ports_on_any_ipv4_address_that_podman_serves_count_as_served() {
    let lines = |all: &[u16]| ports(all).into_iter().map(|f| (f, f.to_string()));
    let wanted = Published {
        any_v4: lines(&[80, 81]).collect(),
        ..Published::default()
    };
    let audit =
        |seen| Auditor::default().audit(StandbyState::On, &seen, Some(&wanted), Duration::ZERO);
    let of_podman = audit(podman(&[80]));
    assert_eq!(of_podman.served, ports(&[80]));
    let expected = lines(&[80]).map(|(_, line)| line).collect();
    assert_eq!(of_podman.served_by_podman, expected);
    // Docker, unlike Podman, shows the address that it means.
    assert_eq!(audit(docker(&[80])), Audit::default());
}

#[test]
fn nothing_is_too_much_while_some_containers_are_unanswered() {
    let seen = docker(&[80, 82]);
    let mut wanted = Published {
        partial: true,
        ..published(&[80])
    };
    let mut auditor = Auditor::default();
    let mut stray = |wanted: &Published, second| {
        let audit = auditor.audit(StandbyState::On, &seen, Some(wanted), at(second));
        audit.stray
    };
    assert_eq!(stray(&wanted, 0), ports(&[]));
    assert_eq!(stray(&wanted, 9), ports(&[]));
    // A rule that leads to a container that Docker has answered about is stray all the same.
    wanted.answered = ports(&[82]).iter().map(|f| f.target.0).collect();
    assert_eq!(stray(&wanted, 10), ports(&[]));
    assert_eq!(stray(&wanted, 13), ports(&[82]));
    wanted.answered.clear();
    assert_eq!(stray(&wanted, 14), ports(&[]));
    wanted.partial = false;
    assert_eq!(stray(&wanted, 15), ports(&[]));
    assert_eq!(stray(&wanted, 18), ports(&[82]));
}

#[test]
fn the_whole_key_is_compared_and_not_the_target_alone() {
    let all = ports(&[80, 81]);
    let udp = all.iter().map(|forward| HostForward {
        proto: Proto::Udp,
        ..*forward
    });
    let wanted = Published {
        forwards: all.iter().copied().chain(udp.clone()).collect(),
        ..Published::default()
    };
    let mut auditor = Auditor::default();
    let mut audit =
        |second| auditor.audit(StandbyState::On, &docker(&[80]), Some(&wanted), at(second));
    audit(0);
    let expected = ports(&[81]).into_iter().chain(udp).collect();
    assert_eq!(audit(3).unserved, expected);
}

#[test]
fn what_was_left_behind_is_named_only_while_dockers_nat_is_off() {
    let left = LeftBehind {
        place: "chain DOCKER".into(),
        remedy: "ip6tables".into(),
    };
    let mut seen = docker(&[]);
    seen.left_behind.insert(left.clone());
    let none = BTreeSet::new();
    let named = [left].into();
    let cases = [
        (StandbyState::On, 9, &none),
        (StandbyState::Unsettled, 9, &none),
        (StandbyState::Off, 2, &none),
        (StandbyState::Off, 3, &named),
    ];
    for (state, second, expected) in cases {
        let mut auditor = Auditor::default();
        auditor.audit(StandbyState::Unsettled, &seen, None, at(0));
        let audit = auditor.audit(state, &seen, None, at(second));
        assert_eq!(audit.left_behind, *expected, "{state:?} at {second}");
        assert_eq!(audit.problems().len(), expected.len());
    }
}

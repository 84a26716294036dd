//! Docker's NAT on and off, as the kernel showed it with Engines 20.10, 28 and 29.

use super::super::since::SETTLES_AFTER;
use super::super::testing::{at, docker, podman, ports, published};
use super::*;

/// One observation: what the kernel shows, what is published, at which second, and the decision.
type Step<'a> = (DockerNat, Option<&'a [u16]>, u64, StandbyState);

#[track_caller]
fn decides(steps: &[Step<'_>]) -> Gate {
    let mut gate = Gate::default();
    for (n, (seen, wanted, second, expected)) in steps.iter().enumerate() {
        let published = wanted.map(published);
        let state = gate.decide(seen, published.as_ref(), at(*second));
        assert_eq!(state, *expected, "observation {n}");
    }
    gate
}

/// Port 81 lost its rule long ago; the only other container restarts.
#[test]
fn a_port_that_is_never_served_does_not_end_standby_when_the_served_one_restarts() {
    decides(&[
        (docker(&[80]), Some(&[80, 81]), 0, StandbyState::On),
        (docker(&[80]), Some(&[80, 81]), 99, StandbyState::On),
        (docker(&[]), Some(&[80, 81]), 100, StandbyState::On),
        (docker(&[]), Some(&[81]), 101, StandbyState::On),
        (docker(&[80]), Some(&[80, 81]), 102, StandbyState::On),
        // The container stops for good.
        (docker(&[]), Some(&[81]), 200, StandbyState::On),
        (docker(&[]), Some(&[81]), 203, StandbyState::Off),
    ]);
}

#[test]
fn a_kernel_without_docker_rules_has_its_nat_off() {
    decides(&[
        (DockerNat::default(), None, 0, StandbyState::Off),
        (DockerNat::default(), Some(&[80]), 0, StandbyState::Off),
    ]);
}

#[test]
fn before_docker_answers_a_chain_settles_nothing() {
    decides(&[
        (docker(&[80]), None, 0, StandbyState::Unsettled),
        (docker(&[80]), Some(&[80]), 1, StandbyState::On),
    ]);
}

#[test]
fn chains_that_were_left_behind_are_found_out_once_nothing_is_served() {
    let gate = decides(&[
        (docker(&[]), Some(&[80]), 0, StandbyState::Unsettled),
        (docker(&[]), Some(&[80]), 2, StandbyState::Unsettled),
    ]);
    assert_eq!(gate.changes_in(at(2)), Some(at(1)));
    let gate = decides(&[
        (docker(&[]), Some(&[80]), 0, StandbyState::Unsettled),
        (docker(&[]), Some(&[80]), 3, StandbyState::Off),
        (docker(&[]), Some(&[]), 4, StandbyState::Off),
        (docker(&[]), Some(&[81]), 5, StandbyState::Off),
    ]);
    assert_eq!(gate.changes_in(at(1)), None);
}

#[test]
fn one_port_that_is_not_served_does_not_end_the_standby() {
    decides(&[
        (docker(&[80, 81]), Some(&[80, 81]), 0, StandbyState::On),
        // Somebody has deleted the port's rule; another port is never served.
        (docker(&[80]), Some(&[80, 81, 82]), 1, StandbyState::On),
        (docker(&[80]), Some(&[80, 81, 82]), 99, StandbyState::On),
    ]);
}

#[test]
fn while_nothing_is_published_all_stays_as_it_was() {
    decides(&[
        (docker(&[]), Some(&[]), 0, StandbyState::On),
        (docker(&[]), Some(&[]), 9, StandbyState::On),
        (docker(&[]), Some(&[80]), 10, StandbyState::On),
        (docker(&[]), Some(&[80]), 13, StandbyState::Off),
        (docker(&[]), Some(&[]), 20, StandbyState::Off),
    ]);
}

#[test]
fn once_it_is_off_only_a_new_rule_proves_it_on() {
    decides(&[
        (docker(&[80]), Some(&[81]), 0, StandbyState::Unsettled),
        (docker(&[80]), Some(&[81]), 3, StandbyState::Off),
        // A rule that an Engine left behind serves a port that is published again.
        (docker(&[80]), Some(&[80]), 4, StandbyState::Off),
        // Docker inserts a rule before it reports the container that the rule serves.
        (docker(&[80, 82]), Some(&[80]), 5, StandbyState::On),
    ]);
}

#[test]
fn a_container_that_is_dying_does_not_end_the_standby() {
    decides(&[
        (docker(&[80]), Some(&[80]), 0, StandbyState::On),
        (docker(&[]), Some(&[80]), 1, StandbyState::On),
        (docker(&[]), Some(&[]), 2, StandbyState::On),
        // The next one starts the clock anew.
        (docker(&[]), Some(&[81]), 9, StandbyState::On),
        (docker(&[81]), Some(&[81]), 10, StandbyState::On),
        (docker(&[81]), Some(&[81]), 99, StandbyState::On),
    ]);
}

#[test]
fn an_engine_that_comes_back_with_its_nat_on_takes_over() {
    decides(&[
        (DockerNat::default(), Some(&[80]), 0, StandbyState::Off),
        // Docker creates its chain before its rules, and gets the time for them.
        (docker(&[]), Some(&[80]), 5, StandbyState::On),
        (docker(&[]), Some(&[80]), 7, StandbyState::On),
        (docker(&[80]), Some(&[80]), 8, StandbyState::On),
    ]);
    // While an Engine's chain is left behind, the rules in it decide.
    decides(&[
        (docker(&[]), Some(&[80]), 0, StandbyState::Unsettled),
        (docker(&[]), Some(&[80]), 3, StandbyState::Off),
        (docker(&[80]), Some(&[80]), 4, StandbyState::On),
    ]);
}

#[test]
fn an_engine_that_comes_back_with_its_nat_off_hands_over() {
    decides(&[
        (docker(&[80]), Some(&[80]), 0, StandbyState::On),
        (docker(&[]), Some(&[]), 1, StandbyState::On),
        (docker(&[]), Some(&[80]), 2, StandbyState::On),
        (docker(&[]), Some(&[80]), 5, StandbyState::Off),
    ]);
    // A table without base chains leads nowhere.
    decides(&[
        (docker(&[80]), Some(&[80]), 0, StandbyState::On),
        (DockerNat::default(), Some(&[80]), 1, StandbyState::Off),
    ]);
}

#[test]
fn netavark_counts_where_podman_plays_dockers_part() {
    decides(&[
        // On a host with Docker, Podman's NAT serves Podman's own containers.
        (podman(&[90]), Some(&[]), 0, StandbyState::Off),
        (podman(&[90, 91]), Some(&[80]), 1, StandbyState::Off),
        (podman(&[80]), Some(&[80]), 2, StandbyState::On),
        (podman(&[]), Some(&[80]), 3, StandbyState::On),
        (podman(&[]), Some(&[]), 4, StandbyState::On),
        (podman(&[]), Some(&[80]), 5, StandbyState::On),
        (podman(&[]), Some(&[80]), 8, StandbyState::Off),
    ]);
}

/// Podman shows a port without an address of its own as bound to `0.0.0.0`.
#[test]
fn a_port_on_any_ipv4_address_that_podman_serves_proves_its_nat_on() {
    let wanted = Published {
        any_v4: ports(&[80])
            .into_iter()
            .map(|f| (f, f.to_string()))
            .collect(),
        ..Published::default()
    };
    let first = |seen: &DockerNat| Gate::default().decide(seen, Some(&wanted), at(0));
    assert_eq!(first(&podman(&[80])), StandbyState::On);
    assert_eq!(first(&podman(&[81])), StandbyState::Off);
}

#[test]
fn what_docker_does_not_serve_when_its_nat_comes_on_gets_its_time() {
    let gate = decides(&[
        (DockerNat::default(), Some(&[80]), 0, StandbyState::Off),
        (docker(&[]), Some(&[80]), 9, StandbyState::On),
    ]);
    assert_eq!(gate.changes_in(at(10)), Some(SETTLES_AFTER - at(1)));
}

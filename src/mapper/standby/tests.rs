//! Docker's NAT on and off, as the kernel showed it with Engines 20.10, 28 and 29.

use super::*;
use crate::model::forward::Proto;

fn ports(ports: &[u16]) -> BTreeSet<HostForward> {
    let forward = |port: &u16| HostForward {
        proto: Proto::Tcp,
        host_addr: None,
        host_port: *port,
        target: ("fdfd::2".parse().unwrap(), 80),
    };
    ports.iter().map(forward).collect()
}

/// What is published.
fn docker(forwards: &[u16]) -> Published {
    Published {
        forwards: ports(forwards),
        ..Published::default()
    }
}

fn chain(forwards: &[u16]) -> Native {
    Native {
        chains: true,
        forwards: ports(forwards),
        ..Native::default()
    }
}

fn netavark(forwards: &[u16]) -> Native {
    Native {
        netavark: true,
        podman: ports(forwards),
        ..Native::default()
    }
}

fn at(second: u64) -> Duration {
    Duration::from_secs(second)
}

/// One look: what the kernel shows, what is published, at which second, and the judgement.
type Look<'a> = (Native, Option<&'a [u16]>, u64, Stand);

#[track_caller]
fn judges(looks: &[Look<'_>]) -> Standby {
    let mut judge = Standby::default();
    for (n, (native, wanted, second, expected)) in looks.iter().enumerate() {
        let published = wanted.map(docker);
        let stand = judge.judge(native, published.as_ref(), at(*second));
        assert_eq!(stand, *expected, "look {n}");
    }
    judge
}

/// 81 has lost its rule long ago; the only other container is started anew.
#[test]
fn a_port_that_is_never_served_does_not_end_standby_when_the_served_one_restarts() {
    judges(&[
        (chain(&[80]), Some(&[80, 81]), 0, Stand::On),
        (chain(&[80]), Some(&[80, 81]), 99, Stand::On),
        (chain(&[]), Some(&[80, 81]), 100, Stand::On),
        (chain(&[]), Some(&[81]), 101, Stand::On),
        (chain(&[80]), Some(&[80, 81]), 102, Stand::On),
        // It is stopped for good.
        (chain(&[]), Some(&[81]), 200, Stand::On),
        (chain(&[]), Some(&[81]), 203, Stand::Off),
    ]);
}

#[test]
fn a_kernel_without_docker_rules_has_its_nat_off() {
    judges(&[
        (Native::default(), None, 0, Stand::Off),
        (Native::default(), Some(&[80]), 0, Stand::Off),
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
fn chains_that_were_left_behind_are_found_out_once_nothing_is_served() {
    let judge = judges(&[
        (chain(&[]), Some(&[80]), 0, Stand::Unsettled),
        (chain(&[]), Some(&[80]), 2, Stand::Unsettled),
    ]);
    assert_eq!(judge.looks_again_in(at(2)), Some(at(1)));
    let judge = judges(&[
        (chain(&[]), Some(&[80]), 0, Stand::Unsettled),
        (chain(&[]), Some(&[80]), 3, Stand::Off),
        (chain(&[]), Some(&[]), 4, Stand::Off),
        (chain(&[]), Some(&[81]), 5, Stand::Off),
    ]);
    assert_eq!(judge.looks_again_in(at(1)), None);
}

#[test]
fn one_port_that_is_not_served_does_not_end_the_standby() {
    let judge = judges(&[
        (chain(&[80, 81]), Some(&[80, 81]), 0, Stand::On),
        // Somebody has deleted its rule; another is never served.
        (chain(&[80]), Some(&[80, 81, 82]), 1, Stand::On),
        (chain(&[80]), Some(&[80, 81, 82]), 99, Stand::On),
    ]);
    let audit = judge.audit(&chain(&[80]), Some(&docker(&[80, 81, 82])), at(99));
    assert_eq!(audit.served, ports(&[80]));
    assert_eq!(audit.unserved, ports(&[81, 82]));
}

#[test]
fn while_nothing_is_published_all_stays_as_it_was() {
    judges(&[
        (chain(&[]), Some(&[]), 0, Stand::On),
        (chain(&[]), Some(&[]), 9, Stand::On),
        (chain(&[]), Some(&[80]), 10, Stand::On),
        (chain(&[]), Some(&[80]), 13, Stand::Off),
        (chain(&[]), Some(&[]), 20, Stand::Off),
    ]);
}

#[test]
fn once_it_is_off_only_a_new_rule_proves_it_on() {
    judges(&[
        (chain(&[80]), Some(&[81]), 0, Stand::Unsettled),
        (chain(&[80]), Some(&[81]), 3, Stand::Off),
        // What was left behind leads to a port that is published again.
        (chain(&[80]), Some(&[80]), 4, Stand::Off),
        // Docker sets it before it says what it is for.
        (chain(&[80, 82]), Some(&[80]), 5, Stand::On),
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
        // It makes its chain before it makes rules, and has the time for them.
        (chain(&[]), Some(&[80]), 5, Stand::On),
        (chain(&[]), Some(&[80]), 7, Stand::On),
        (chain(&[80]), Some(&[80]), 8, Stand::On),
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
    // A table without base chains leads nowhere.
    judges(&[
        (chain(&[80]), Some(&[80]), 0, Stand::On),
        (Native::default(), Some(&[80]), 1, Stand::Off),
    ]);
}

#[test]
fn netavark_counts_where_podman_plays_dockers_part() {
    judges(&[
        // Beside Docker it has containers of its own.
        (netavark(&[90]), Some(&[]), 0, Stand::Off),
        (netavark(&[90, 91]), Some(&[80]), 1, Stand::Off),
        (netavark(&[80]), Some(&[80]), 2, Stand::On),
        (netavark(&[]), Some(&[80]), 3, Stand::On),
        (netavark(&[]), Some(&[]), 4, Stand::On),
        (netavark(&[]), Some(&[80]), 5, Stand::On),
        (netavark(&[]), Some(&[80]), 8, Stand::Off),
    ]);
}

#[test]
fn an_audit_names_what_stays_missing_and_what_is_too_much() {
    let seen = chain(&[80, 82, 83, 84]);
    let wanted = Published {
        forwards: ports(&[80, 81, 83]),
        local: ports(&[84]),
        closed: ports(&[81, 83]),
        ..Published::default()
    };
    let mut judge = Standby::default();
    let mut audit = |second| {
        judge.judge(&seen, Some(&wanted), at(second));
        (
            judge.audit(&seen, Some(&wanted), at(second)),
            judge.looks_again_in(at(second)),
        )
    };
    let (at_once, again) = audit(1);
    assert_eq!(at_once.served, ports(&[80, 83]));
    // A rule comes before the event that says what it is for.
    assert_eq!(
        Audit {
            served: BTreeSet::new(),
            ..at_once
        },
        Audit::default()
    );
    assert_eq!(again, Some(SETTLES_AFTER));
    let (settled, again) = audit(4);
    assert_eq!(settled.unserved, ports(&[81]));
    assert_eq!(settled.stray, ports(&[82]));
    assert_eq!(settled.closed, ports(&[83]));
    assert_eq!(again, None);
}

/// Podman shows what is bound to no address of its own as bound to `0.0.0.0`.
#[test]
fn what_podman_serves_of_ports_on_any_ipv4_address_counts_as_served() {
    let wanted = Published {
        any_v4: ports(&[80, 81])
            .into_iter()
            .map(|f| (f, f.to_string()))
            .collect(),
        ..Published::default()
    };
    let seen = netavark(&[80]);
    let mut judge = Standby::default();
    assert_eq!(judge.judge(&seen, Some(&wanted), at(0)), Stand::On);
    let audit = judge.audit(&seen, Some(&wanted), at(0));
    assert_eq!(audit.served, ports(&[80]));
    let told = ports(&[80]).iter().map(ToString::to_string).collect();
    assert_eq!(audit.served_all_the_same, told);
    // Docker means the address that it shows.
    let mut judge = Standby::default();
    judge.judge(&chain(&[80]), Some(&wanted), at(0));
    let audit = judge.audit(&chain(&[80]), Some(&wanted), at(0));
    assert_eq!(
        (audit.served, audit.served_all_the_same),
        Default::default()
    );
}

#[test]
fn nothing_is_too_much_while_some_containers_are_unanswered() {
    let seen = chain(&[80, 82]);
    let mut wanted = Published {
        partial: true,
        ..docker(&[80])
    };
    let mut judge = Standby::default();
    let mut stray = |wanted: &Published, second| {
        judge.judge(&seen, Some(wanted), at(second));
        judge.audit(&seen, Some(wanted), at(second)).stray
    };
    assert_eq!(stray(&wanted, 0), ports(&[]));
    assert_eq!(stray(&wanted, 9), ports(&[]));
    // Unless it leads to one that is answered about.
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
    let seen = chain(&[80]);
    let mut judge = Standby::default();
    judge.judge(&seen, Some(&wanted), at(0));
    judge.judge(&seen, Some(&wanted), at(3));
    let audit = judge.audit(&seen, Some(&wanted), at(3));
    assert_eq!(
        audit.unserved,
        ports(&[81]).into_iter().chain(udp).collect()
    );
}

#[test]
fn what_was_left_behind_is_told_only_while_its_nat_is_off() {
    let left = LeftBehind {
        place: "chain DOCKER".into(),
        remedy: "ip6tables".into(),
    };
    let with = |mut native: Native| {
        native.left_behind.insert(left.clone());
        native
    };
    let none = BTreeSet::new();
    let told = [left.clone()].into();
    let cases = [
        (chain(&[80]), 9, &none),
        (chain(&[]), 2, &none),
        (chain(&[]), 3, &told),
    ];
    for (native, second, expected) in cases {
        let native = with(native);
        let mut judge = Standby::default();
        judge.judge(&native, Some(&docker(&[80])), at(0));
        judge.judge(&native, Some(&docker(&[80])), at(second));
        let audit = judge.audit(&native, Some(&docker(&[80])), at(second));
        assert_eq!(audit.left_behind, *expected, "{native:?}");
    }
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

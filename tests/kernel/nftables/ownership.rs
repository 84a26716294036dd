//! Whose the table is: while a daemon runs, after it was killed, and in what others leave.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use docker_nat66::backend::Backend;
use docker_nat66::backend::nftables::{Nftables, TableSettings};
use docker_nat66::model::forward::{Proto, Sources};

use super::backend;
use super::others::{nft, nft_ok, ruleset};
use super::rules::{every_kind, tcp};
use crate::flows::scenery::{HOST, PORT, Tcp};
use crate::packets::scenery::{CLIENT, Firewall, build, client, forwards, policy};
use crate::support::contract::rules::{contents, insertion, listed, removal};
use crate::support::namespace;
use crate::support::shell::sh;

const SHOW: &str = "list table ip6 docker_nat66";

/// What others try: each is refused, or passes our table over.
const ATTACKS: [&str; 5] = [
    "flush ruleset",
    "delete table ip6 docker_nat66",
    "flush chain ip6 docker_nat66 prerouting",
    "add element ip6 docker_nat66 egress { \"lo\" }",
    "add rule ip6 docker_nat66 forward drop",
];

#[test]
#[ignore = "needs nft: run by tests/run"]
fn what_others_do_to_an_owned_table_changes_nothing() {
    namespace::fresh(|| {
        let mut backend = backend(true);
        assert_eq!(backend.commit(&insertion(&every_kind())), Ok(()));
        let before = ruleset();
        for attack in ATTACKS {
            let outcome = nft(attack);
            assert_eq!(outcome.is_ok(), attack == "flush ruleset", "{outcome:?}");
            assert_eq!(ruleset(), before, "{attack}");
        }
        assert_eq!(listed(&mut backend).len(), every_kind().len());
    });
}

#[test]
#[ignore = "needs root and nft: run by tests/run"]
fn a_table_outlives_its_daemon_and_the_next_one_adopts_it_without_a_lost_packet() {
    namespace::fresh(|| {
        build();
        let mut first = Firewall::of(Box::new(backend(true)));
        first.set(&policy(), &forwards(&Sources::Any));
        client().is_answered(HOST, PORT, "one", CLIENT);
        let rules = contents(first.backend());
        drop(first);
        client().is_answered(HOST, PORT, "one", CLIENT);
        let orphaned = nft_ok(SHOW);
        let mut second = Firewall::of(Box::new(backend(true)));
        assert_eq!(contents(second.backend()), rules);
        client().is_answered(HOST, PORT, "one", CLIENT);
        nft(ATTACKS[1]).expect_err("it is owned again");
        // Elements stay, and what they have counted.
        let elements = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| line.contains("8080 counter"));
            lines.map(|line| line.trim().replace(" }", "")).collect()
        };
        assert!(elements(&orphaned)[0].contains("packets "), "{orphaned}");
        let packets = |text: &str| -> u64 {
            let counted = elements(text).concat();
            let after = counted.split("packets ").nth(1).expect("counted");
            after
                .split(' ')
                .next()
                .expect("a number")
                .parse()
                .expect("a number")
        };
        assert!(packets(&orphaned) > 0);
        assert!(packets(&nft_ok(SHOW)) > packets(&orphaned));
        second.unset();
        assert_eq!(ruleset(), "");
    });
}

#[test]
#[ignore = "needs root and nft: run by tests/run"]
fn a_connection_goes_on_while_daemons_come_and_go() {
    namespace::fresh(|| {
        crate::flows::scenery::build();
        crate::flows::scenery::serve_tcp_in_a_container();
        let mut first = Firewall::of(Box::new(backend(true)));
        first.set(&policy(), &forwards(&Sources::Any));
        let mut tcp = Tcp::begin();
        tcp.ask().expect("an answer");
        drop(first);
        for _ in 0..5 {
            tcp.ask().expect("an answer");
            let mut next = Firewall::of(Box::new(backend(true)));
            assert!(!contents(next.backend()).is_empty());
            tcp.ask().expect("an answer");
        }
    });
}

#[test]
#[ignore = "needs root and nft: run by tests/run"]
fn a_table_that_is_left_behind_on_purpose_is_nobodys_and_loads_again() {
    namespace::fresh(|| {
        build();
        let mut first = Firewall::of(Box::new(backend(true)));
        assert_eq!(first.backend().leave(), Ok(()));
        assert_eq!(ruleset(), "");
        first.set(&policy(), &forwards(&Sources::Any));
        let rules = contents(first.backend());
        assert_eq!(first.backend().leave(), Ok(()));
        client().is_answered(HOST, PORT, "one", CLIENT);
        drop(first);
        let saved = ruleset();
        assert!(
            saved.starts_with("table ip6 docker_nat66 {\n\tset "),
            "{saved}"
        );
        nft_ok("flush ruleset");
        nft_ok(&saved);
        assert_eq!(ruleset(), saved);
        client().is_answered(HOST, PORT, "one", CLIENT);
        assert_eq!(contents(&mut backend(true)), rules);
    });
}

/// Each of these flows is new, and asks the maps. A table whose flags cannot be changed to ours is
/// made anew: a packet that is between the old chain and the new one of the NAT hook when the
/// generation changes finds neither's rules, if no other table stands in (seen here about once in
/// 100 times under a flood).
#[test]
#[ignore = "needs root and nft: run by tests/run"]
fn no_new_flow_is_lost_while_tables_are_adopted_made_anew_and_handed_over() {
    namespace::fresh(|| {
        build();
        let small = || {
            let settings = TableSettings {
                size: 2,
                ..TableSettings::default()
            };
            Nftables::detect(settings).expect("usable")
        };
        let mut first = Firewall::of(Box::new(small()));
        first.set(&policy(), &forwards(&Sources::Any));
        client().is_answered(HOST, PORT, "one", CLIENT);
        drop(first);
        let done = AtomicBool::new(false);
        let asked = thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let mut asked = 0;
                while !done.load(Ordering::Relaxed) {
                    let answer = client().patient().ask(Proto::Udp, HOST, PORT);
                    assert_eq!(answer.ok().as_deref(), Some("one 2001:db8::2"), "{asked}");
                    asked += 1;
                }
                asked
            });
            for round in 0..60 {
                let mut next = small();
                assert!(next.list().is_ok());
                let more: Vec<_> = (1..=3).map(|n| tcp(9000 + round * 3 + n)).collect();
                assert_eq!(next.commit(&insertion(&more)), Ok(()));
                if round % 2 == 0 {
                    assert_eq!(next.leave(), Ok(()));
                }
            }
            done.store(true, Ordering::Relaxed);
            asking.join().expect("each was answered")
        });
        assert!(asked > 50, "{asked}");
    });
}

#[test]
#[ignore = "needs nft: run by tests/run"]
fn two_daemons_do_not_share_a_table() {
    namespace::fresh(|| {
        let (mut first, mut second) = (backend(true), backend(true));
        assert_eq!(first.commit(&insertion(&[tcp(1)])), Ok(()));
        let error = second.list().expect_err("another's");
        assert_eq!(
            error.kind,
            docker_nat66::backend::ErrorKind::Denied,
            "{error}"
        );
        assert_eq!(listed(&mut first), [Some(tcp(1))]);
        drop(first);
        assert_eq!(listed(&mut second), [Some(tcp(1))]);
    });
}

/// Flags 0 to 6 cannot be had by asking: the table is made anew, with what is ours in it.
#[test]
#[ignore = "needs nft: run by tests/run"]
fn a_table_that_was_not_owned_is_made_anew_with_its_elements() {
    namespace::fresh(|| {
        let mut rules = every_kind();
        for (owned_before, owned) in [(false, true), (true, false)] {
            let mut first = backend(owned_before);
            assert_eq!(first.commit(&insertion(&rules)), Ok(()));
            drop(first);
            let mut second = backend(owned);
            rules.sort();
            let expected: Vec<_> = rules.iter().cloned().map(Some).collect();
            assert_eq!(contents(&mut second), expected);
            assert_eq!(nft(ATTACKS[3]).is_err(), owned);
            let all = removal(&mut second, |_| true);
            assert_eq!(second.commit(&all), Ok(()));
            assert_eq!(ruleset(), "");
        }
    });
}

/// What somebody may do to chains, and sets, of a table that is not owned.
const ALTERATIONS: [&str; 9] = [
    "flush chain ip6 docker_nat66 forward",
    "flush table ip6 docker_nat66",
    "insert rule ip6 docker_nat66 forward accept",
    "add rule ip6 docker_nat66 input counter",
    "add chain ip6 docker_nat66 mine { type filter hook forward priority 5; policy drop; }",
    "add set ip6 docker_nat66 mine { type ipv6_addr; }",
    "flush chain ip6 docker_nat66 input; delete chain ip6 docker_nat66 input",
    "flush table ip6 docker_nat66; delete set ip6 docker_nat66 guarded; \
     add set ip6 docker_nat66 guarded { type ipv6_addr; }",
    "add chain ip6 docker_nat66 forward { policy drop; }",
];

#[test]
#[ignore = "needs nft: run by tests/run"]
fn chains_that_somebody_has_altered_are_repaired_and_others_left_alone() {
    namespace::fresh(|| {
        let mut backend = backend(false);
        assert_eq!(backend.commit(&insertion(&every_kind())), Ok(()));
        let before = ruleset();
        for alteration in ALTERATIONS {
            nft_ok(alteration);
            assert_ne!(ruleset(), before, "{alteration}");
            let left = listed(&mut backend).len();
            let lost = usize::from(alteration.contains("delete set"));
            assert_eq!(left, every_kind().len() - lost, "{alteration}");
            let guarded = every_kind()
                .into_iter()
                .filter(|r| r.facts.kind == "guarded");
            if lost > 0 {
                assert_eq!(
                    backend.commit(&insertion(&guarded.collect::<Vec<_>>())),
                    Ok(())
                );
            }
            assert_eq!(sorted(&ruleset()), sorted(&before), "{alteration}");
        }
        // What is as it should be is not written again: rules keep their handles.
        let handles = || sh("nft -a list table ip6 docker_nat66");
        let kept = handles();
        nft_ok("add table ip6 other");
        assert_eq!(listed(&mut backend).len(), every_kind().len());
        assert_eq!(handles(), kept);
    });
}

/// Elements are listed in the order of a hash table.
fn sorted(text: &str) -> Vec<String> {
    let bare = |line: &str| {
        line.trim()
            .replace("elements = { ", "")
            .replace([',', '}'], "")
    };
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| bare(line).trim().to_owned())
        .collect();
    lines.sort();
    lines
}

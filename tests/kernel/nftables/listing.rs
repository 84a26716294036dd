//! The table as nft lists it: whole, and the sets and maps of each scenario; and that what nft
//! prints it also loads, and lists as before.

use std::collections::BTreeSet;

use docker_nat66::backend::Backend as _;
use docker_nat66::backend::compile;
use docker_nat66::model::forward::{Forward, Sources};
use docker_nat66::model::intent::{Hairpin, Intent, Outgoing, Policy, Unpublished};
use docker_nat66::model::rule::{BackendKind, Rule};

use super::backend;
use super::others::{nft_ok, ruleset};
use super::rules::{every_kind, guarded, prefix, source};
use crate::packets::scenery::{forwards, policy};
use crate::real::version;
use crate::support::contract::rules::{contents, insertion, removal};
use crate::support::namespace;
use crate::support::shell::sh;

const WHOLE: &str = include_str!("table.nft");

fn rules(policy: &Policy, forwards: &[Forward]) -> Vec<Rule> {
    let intent = Intent::new(policy.clone(), Some(forwards.to_vec()));
    let desired = compile::desired(BackendKind::Nftables, &intent).rules;
    desired.into_values().map(|owned| owned.rule).collect()
}

/// One TCP forward, at an address of the host's or at any.
fn one(sources: &Sources, host_addr: Option<&str>) -> Vec<Forward> {
    let mut one = forwards(sources);
    one.truncate(1);
    one[0].host_addr = host_addr.map(|addr| addr.parse().expect("an address"));
    one
}

/// Sets and maps that hold something, with their elements, one a line and in order.
fn elements() -> Vec<String> {
    let (mut found, mut name) = (Vec::new(), String::new());
    for line in ruleset().lines().map(str::trim) {
        if let Some(set) = line.strip_prefix("set ").or(line.strip_prefix("map ")) {
            name = set.trim_end_matches(" {").to_owned();
        }
        if line.contains(" comment ") {
            let element = line.trim_start_matches("elements = { ");
            let element = element.trim_end_matches([',', '}', ' ']);
            found.push(format!("{name}: {element}"));
        }
    }
    found.sort();
    found
}

#[test]
#[ignore = "needs nft: run by tests/run"]
fn the_whole_table_reads_as_written_down() {
    namespace::fresh(|| {
        let mut backend = backend(false);
        let rules = rules(&policy(), &one(&Sources::Any, None));
        assert_eq!(backend.commit(&insertion(&rules)), Ok(()));
        // nft 1.1 has a word for the priority at this hook too.
        let whole = match version("nft") {
            version if version < [1, 1, 0] => WHOLE.to_owned(),
            _ => WHOLE.replace("hook output priority -100", "hook output priority dstnat"),
        };
        assert_eq!(sh("nft list table ip6 docker_nat66"), whole);
    });
}

#[test]
#[ignore = "needs nft: run by tests/run"]
fn each_scenario_has_its_elements() {
    let statics = [
        "egress: \"eth0\" comment \"docker-nat66:65460cbb413c714c\"",
        "guarded: fdfd:5898:4917:1::/64 comment \"docker-nat66:5f8844b224d8e862\"",
        "prefixes: fdfd:5898:4917:1::/64 comment \"docker-nat66:8368bc512075cadb\"",
    ];
    let open = Policy {
        unpublished: Unpublished::Accept,
        outgoing: Outgoing::Accept,
        ..policy()
    };
    let hairpin = Policy {
        hairpin: Hairpin::On,
        ..policy()
    };
    let snat = Policy {
        snat: vec![(policy().prefixes[0], "2001:db8::11".parse().expect("valid"))],
        ..policy()
    };
    let nets = ["2001:db8::/32", "2001:db8:1::/48"].map(|net| net.parse().expect("a prefix"));
    let limited = Sources::Only(BTreeSet::from(nets));
    let at = Some("2001:db8::1");
    let forward = "tcp . 8080 counter comment";
    let target = "fdfd:5898:4917:1::2 . 80";
    let scenarios: [(&str, Vec<Rule>, Vec<String>); 6] = [
        ("nothing published", rules(&policy(), &[]), Vec::new()),
        (
            "a port at one address",
            rules(&policy(), &one(&Sources::Any, at)),
            vec![format!(
                "forwards_host: 2001:db8::1 . {forward} ID : {target}"
            )],
        ),
        (
            "unpublished ports open",
            rules(&open, &one(&Sources::Any, None)),
            vec![
                format!("forwards: {forward} ID : {target}"),
                "-guarded".to_owned(),
            ],
        ),
        (
            "hairpin",
            rules(&hairpin, &one(&Sources::Any, None)),
            vec![
                format!("forwards: {forward} ID : {target}"),
                format!("forwards_inside: {forward} ID : {target}"),
                "hairpin: fdfd:5898:4917:1::/64 . fdfd:5898:4917:1::/64 comment ID".to_owned(),
            ],
        ),
        (
            "limited sources, merged",
            rules(&policy(), &one(&limited, at)),
            vec![
                format!(
                    "forwards_from_host: 2001:db8::/32 . 2001:db8::1 . {forward} ID : {target}"
                ),
                "refused_host: 2001:db8::1 . tcp . 8080 counter comment ID".to_owned(),
            ],
        ),
        (
            "a source of its own",
            rules(&snat, &[]),
            vec!["sources: fdfd:5898:4917:1::/64 comment ID : 2001:db8::11".to_owned()],
        ),
    ];
    namespace::fresh(move || {
        let mut backend = backend(false);
        for (name, rules, more) in &scenarios {
            assert_eq!(backend.commit(&insertion(rules)), Ok(()), "{name}");
            let mut expected: Vec<String> = statics.map(str::to_owned).into();
            for line in more {
                match line.strip_prefix('-') {
                    Some(set) => expected.retain(|line| !line.starts_with(set)),
                    None => expected.push(line.clone()),
                }
            }
            expected.sort();
            let seen = elements();
            assert_eq!(seen.len(), expected.len(), "{name}: {seen:#?}");
            for (seen, expected) in seen.iter().zip(&expected) {
                let comment = seen
                    .split('"')
                    .find(|part| part.starts_with("docker-nat66:"));
                let comment = format!("\"{}\"", comment.expect("each has one"));
                assert_eq!(seen, &expected.replace("ID", &comment), "{name}");
            }
            let all = removal(&mut backend, |_| true);
            assert_eq!(backend.commit(&all), Ok(()));
            assert_eq!(ruleset(), "");
        }
    });
}

#[test]
#[ignore = "needs nft: run by tests/run"]
fn what_nft_prints_of_it_nft_also_loads_and_the_backend_knows_it_again() {
    namespace::fresh(|| {
        let mut first = backend(false);
        assert_eq!(first.commit(&insertion(&every_kind())), Ok(()));
        let listed = sh("nft list ruleset");
        nft_ok("flush ruleset");
        nft_ok(&listed);
        assert_eq!(sh("nft list ruleset"), listed);
        let seen = first.list().expect("certain");
        assert_eq!(seen.len(), every_kind().len());
        assert!(seen.iter().all(|seen| seen.rule.is_some()), "{seen:#?}");
        let all = removal(&mut first, |_| true);
        assert_eq!(first.commit(&all), Ok(()));
        assert_eq!(ruleset(), "");
    });
}

/// Where one range ends the next begins, at the same address.
#[test]
#[ignore = "needs nft: run by tests/run"]
fn prefixes_side_by_side_come_and_go_one_by_one() {
    namespace::fresh(|| {
        let mut backend = backend(true);
        let all = ["fdfd:0:0:1::/64", "fdfd:0:0:2::/64", "fdfd:0:0:3::/64"];
        let all = all.map(|net| [prefix(net), guarded(net), source(net, "2001:db8::1")]);
        for first in 0..3 {
            let order = [0, 1, 2].map(|n| (first + n) % 3);
            for n in order {
                assert_eq!(backend.commit(&insertion(&all[n])), Ok(()));
            }
            // As the kernel has them, too, and not only as remembered.
            sh("nft add table ip6 other");
            let mut expected: Vec<_> = all.iter().flatten().cloned().map(Some).collect();
            expected.sort();
            assert_eq!(contents(&mut backend), expected);
            for n in order {
                let gone = removal(&mut backend, |rule| all[n].contains(rule));
                assert_eq!(backend.commit(&gone), Ok(()));
                sh("nft add table ip6 other; nft delete table ip6 other");
                expected.retain(|rule| !all[n].iter().any(|gone| Some(gone) == rule.as_ref()));
                assert_eq!(contents(&mut backend), expected);
            }
        }
    });
}

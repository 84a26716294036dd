//! The table as nft lists it; and that what nft prints it also loads, and lists as before. The sets
//! and maps of each scenario are among the [goldens](crate::goldens).

use docker_nat66::backend::Backend as _;
use docker_nat66::backend::compile;
use docker_nat66::model::forward::{Forward, Sources};
use docker_nat66::model::intent::{Intent, Policy};
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

#[test]
#[ignore = "needs nft: run by tests/run"]
fn the_whole_table_reads_as_written_down() {
    namespace::fresh(|| {
        let mut backend = backend(false);
        let rules = rules(&policy(), &forwards(&Sources::Any)[..1]);
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

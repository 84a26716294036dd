//! What the nft variant of ip6tables does not list again, because the kernel tells who changes it.

use std::collections::BTreeSet;

use docker_nat66::backend::ip6tables::{Ip6tables, Variant, render};
use docker_nat66::backend::{Backend, Batch, ObservedRule};

use crate::real::{Others, tools};
use crate::support::contract::Foreign;
use crate::support::contract::rules::{every_kind, insertion, listed};
use crate::support::namespace;

/// The nft variant lists nothing between two changes as long as the kernel announces no change of others.
#[test]
#[ignore = "needs ip6tables: run by tests/run"]
fn what_others_do_between_two_changes_is_seen() {
    namespace::fresh(|| {
        for variant in [Variant::Nft, Variant::Legacy] {
            let (_dir, settings) = tools(variant);
            let mut backend = Ip6tables::detect(settings).expect("usable");
            let mut others = Others(variant);
            let rules = every_kind();
            let ids: BTreeSet<_> = rules.iter().map(|rule| rule.id()).collect();
            let of = |backend: &mut Ip6tables| backend.list_of(&ids).expect("certain");
            // The tools write some addresses in another way.
            let contents = |seen: Vec<ObservedRule>| {
                let mut rules: Vec<_> = seen.into_iter().map(|seen| (seen.id, seen.rule)).collect();
                rules.sort();
                rules
            };
            assert_eq!(backend.list(), Ok(Vec::new()));
            let empty = others.lines();
            for insert in rules.chunks(5) {
                assert_eq!(backend.commit(&insertion(insert)), Ok(()));
                let known = contents(of(&mut backend));
                let listed = contents(backend.list().expect("certain"));
                assert_eq!(known, listed, "{variant}");
            }
            // Removed and inserted as they are known, and not as they are listed.
            for insert in [&rules[..], &[]] {
                let remove = of(&mut backend);
                let insert = insert.to_vec();
                assert_eq!(backend.commit(&Batch { remove, insert }), Ok(()));
            }
            assert_eq!(others.lines(), empty);
            assert_eq!(backend.commit(&insertion(&rules)), Ok(()));
            let one = rules.last().expect("some");
            let copies = |backend: &mut Ip6tables| {
                let seen = of(backend);
                seen.iter().filter(|seen| seen.id == one.id()).count()
            };
            for (line, left) in [(true, 2), (false, 1), (false, 0), (true, 1)] {
                match line {
                    true => others.add(&render::listed(one)),
                    false => others.delete(&render::listed(one)),
                }
                assert_eq!(copies(&mut backend), left, "{variant}");
            }
            // More than the kernel keeps for whoever listens.
            others.add(&render::listed(one));
            let many: Vec<String> = (0..3_000)
                .map(|n| format!("-A POSTROUTING -o x{n} -j ACCEPT"))
                .collect();
            others.restore("nat", &many.join("\n"));
            assert_eq!(copies(&mut backend), 2, "{variant}");
            let remove = of(&mut backend);
            let batch = Batch {
                remove,
                ..Batch::default()
            };
            assert_eq!(backend.commit(&batch), Ok(()));
            assert_eq!(of(&mut backend), []);
            assert_eq!(listed(&mut backend), []);
        }
    });
}

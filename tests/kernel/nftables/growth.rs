//! Maps that become too small.

use docker_nat66::backend::Backend;
use docker_nat66::backend::nftables::{Nftables, TableSettings};
use docker_nat66::model::forward::Sources;
use docker_nat66::model::rule::Rule;

use super::rules::{rule, tcp};
use crate::flows::scenery::{HOST, PORT};
use crate::packets::scenery::{CLIENT, Firewall, build, client, forwards, policy};
use crate::support::contract::rules::{contents, insertion, removal};
use crate::support::namespace;
use crate::support::shell::sh;

fn small() -> Nftables {
    let settings = TableSettings {
        size: 4,
        ..TableSettings::default()
    };
    Nftables::detect(settings).expect("usable")
}

fn size() -> String {
    let map = sh("nft list map ip6 docker_nat66 forwards");
    let size = map.lines().find(|line| line.contains("size "));
    size.expect("it has one").trim().to_owned()
}

#[test]
#[ignore = "needs root and nft: run by tests/run"]
fn a_full_map_is_replaced_by_a_larger_one_and_nobody_notices() {
    namespace::fresh(|| {
        build();
        let mut firewall = Firewall::of(Box::new(small()));
        firewall.set(&policy(), &forwards(&Sources::Any));
        client().is_answered(HOST, PORT, "one", CLIENT);
        let before = contents(firewall.backend()).len();
        assert_eq!(size(), "size 4");
        for (more, sized) in [
            (2, "size 4"),
            (1, "size 8"),
            (3, "size 8"),
            (90, "size 128"),
        ] {
            let taken = u16::try_from(contents(firewall.backend()).len()).expect("few");
            let rules: Vec<Rule> = (1..=more).map(|n| tcp(1000 + taken + n)).collect();
            assert_eq!(firewall.backend().commit(&insertion(&rules)), Ok(()));
            assert_eq!(size(), sized);
            client().is_answered(HOST, PORT, "one", CLIENT);
        }
        assert_eq!(contents(firewall.backend()).len(), before + 96);
        // As the kernel has it, too, and not only as remembered.
        sh("nft add table ip6 other");
        assert_eq!(contents(firewall.backend()).len(), before + 96);
        // The next daemon finds it as it is.
        drop(firewall);
        let mut next = small();
        assert_eq!(contents(&mut next).len(), before + 96);
        assert_eq!(size(), "size 128");
        let all = removal(&mut next, |_| true);
        assert_eq!(next.commit(&all), Ok(()));
    });
}

#[test]
#[ignore = "needs root and nft: run by tests/run"]
fn thirty_thousand_forwards_go_in_and_out_in_one_batch_each() {
    namespace::fresh(|| {
        let mut backend = Nftables::detect(TableSettings::default()).expect("usable");
        let with_target = |n: u16, high: u16| {
            let at = format!("fd00::{high} . tcp . {n}");
            rule(&format!("forwards_host {{ {at} : fdfd::2 . 80 }}"))
        };
        let rules: Vec<Rule> = (0..2)
            .flat_map(|high| (1..=15_000).map(move |n| with_target(n, high)))
            .collect();
        assert_eq!(backend.commit(&insertion(&rules)), Ok(()));
        sh("nft add table ip6 other");
        let all = removal(&mut backend, |_| true);
        assert_eq!(all.remove.len(), rules.len());
        assert_eq!(backend.commit(&all), Ok(()));
        assert_eq!(backend.list(), Ok(Vec::new()));
    });
}

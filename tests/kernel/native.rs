//! Docker's own IPv6 NAT, found in the kernel in each of its forms.

use docker_nat66::backend::Backend;
use docker_nat66::backend::ip6tables::{Ip6tables, Variant};
use docker_nat66::backend::nftables::{Nftables, Settings};
use docker_nat66::model::native::Native;

use super::namespace;
use super::real::{name, sh, tools};

/// What Engine 20.10 does with `--experimental --ip6tables=true` and `-p 8080:80`, in its order.
const DOCKERS: [&str; 4] = [
    "-N DOCKER",
    "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
    "-A DOCKER -i docker0 -j RETURN",
    "-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination [fdfd::2]:80",
];

fn nat(variant: Variant, command: &str) {
    sh(&format!("ip6tables-{} -t nat {command}", name(variant)), "");
}

#[test]
#[ignore = "needs ip6tables: run by tests/run"]
fn dockers_chain_is_seen_with_its_jump_and_its_targets() {
    namespace::fresh(|| {
        for variant in [Variant::Nft, Variant::Legacy] {
            let (_dir, settings) = tools(variant);
            let mut backend = Ip6tables::detect(settings).expect("usable");
            assert_eq!(backend.native(), Ok(Native::default()));
            let targets = [("fdfd::2".parse().expect("an address"), 80)];
            for (done, command) in DOCKERS.iter().enumerate() {
                nat(variant, command);
                let seen = Native {
                    table: false,
                    jump: done >= 1,
                    targets: targets.into_iter().filter(|_| done == 3).collect(),
                };
                assert_eq!(backend.native(), Ok(seen), "{variant} after {command}");
            }
            nat(variant, "-F");
            nat(variant, "-X");
            assert_eq!(backend.native(), Ok(Native::default()));
        }
    });
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn a_chain_of_the_legacy_tool_is_seen_by_who_uses_nftables() {
    namespace::fresh(|| {
        let (_dir, settings) = tools(Variant::Legacy);
        let mut backend = Nftables::detect(Settings::default())
            .expect("usable")
            .minding(Ip6tables::legacy(&settings));
        assert_eq!(backend.native(), Ok(Native::default()));
        for command in DOCKERS {
            nat(Variant::Legacy, command);
        }
        let seen = backend.native().expect("an answer");
        assert!(seen.jump, "{seen:?}");
        assert_eq!(seen.targets.len(), 1, "{seen:?}");
    });
}

#[test]
#[ignore = "needs nft: run by tests/run"]
fn the_table_of_docker_bridges_is_seen_with_its_targets() {
    namespace::fresh(|| {
        let (_dir, settings) = tools(Variant::Nft);
        let mut backend = Ip6tables::detect(settings).expect("usable");
        // Another family's says nothing, nor does another table.
        sh(
            "nft add table ip docker-bridges; nft add table ip6 docker-bridge",
            "",
        );
        assert_eq!(backend.native(), Ok(Native::default()));
        sh("nft add table ip6 docker-bridges", "");
        let empty = Native {
            table: true,
            ..Native::default()
        };
        assert_eq!(backend.native(), Ok(empty.clone()));
        sh(
            "nft -f -",
            "table ip6 docker-bridges { chain one { type nat hook prerouting priority -100;
             iifname != docker0 tcp dport 8080 counter dnat to [fdfd::2]:80
             iifname != docker0 udp dport 53 counter dnat to [fdfd::3]:5353
             }; chain two { counter return; }; }",
        );
        let addr = |text: &str| text.parse().expect("an address");
        let targets = [(addr("fdfd::2"), 80), (addr("fdfd::3"), 5353)].into();
        assert_eq!(backend.native(), Ok(Native { targets, ..empty }));
    });
}

//! Docker's own IPv6 NAT, found in the kernel in each of its forms.

use std::collections::BTreeSet;

use docker_nat66::backend::ip6tables::{ToolSettings, Variant};
use docker_nat66::docker_nat::observation::{DockerNat, LeftBehind};
use docker_nat66::docker_nat::observer::Observer;
use docker_nat66::model::published::HostForward;

use crate::real::{name, tools};
use crate::support::namespace;
use crate::support::shell::{sh, sh_with};

/// What Engine 20.10 does with `--experimental --ip6tables=true` and `-p 8080:80`, in its order.
const DOCKERS: [&str; 4] = [
    "-N DOCKER",
    "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
    "-A DOCKER -i docker0 -j RETURN",
    "-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination [fdfd::2]:80",
];

/// A rule of an Engine from 28 on; it leads to a port of one address.
const ONE_ADDRESS: &str = "-A DOCKER ! -s fe80::/10 -d 2001:db8:9::1 -p udp --dport 53 \
    -j DNAT --to-destination [fdfd::3]:5353";

fn nat(variant: Variant, command: &str) {
    sh(&format!("ip6tables-{} -t nat {command}", name(variant)));
}

fn texts<'a>(forwards: impl IntoIterator<Item = &'a HostForward>) -> Vec<String> {
    forwards.into_iter().map(ToString::to_string).collect()
}

/// What a daemon sees that uses nftables.
fn observed() -> DockerNat {
    let mut observer = Observer::new(None, &ToolSettings::default());
    observer.observe().expect("an answer")
}

#[test]
#[ignore = "needs ip6tables: run by tests/run"]
fn dockers_chain_is_seen_with_its_jump_and_its_forwards() {
    namespace::fresh(|| {
        for variant in [Variant::Nft, Variant::Legacy] {
            let (_dir, settings) = tools(variant);
            let mut observer = Observer::new(Some(variant), &settings);
            assert_eq!(observer.observe(), Ok(DockerNat::default()));
            let mut expected = Vec::new();
            for command in DOCKERS.into_iter().chain([ONE_ADDRESS]) {
                nat(variant, command);
                match command {
                    ONE_ADDRESS => expected.push("[2001:db8:9::1]:53/udp to [fdfd::3]:5353"),
                    command if command.contains("8080") => {
                        expected.push("8080/tcp to [fdfd::2]:80");
                    }
                    _ => {}
                }
                let seen = observer.observe().expect("an answer");
                assert_eq!(
                    seen.chains,
                    command != DOCKERS[0],
                    "{variant} after {command}"
                );
                assert_eq!(texts(&seen.forwards), expected, "{variant} after {command}");
            }
            // Without the jump no packet gets there.
            nat(variant, "-F PREROUTING");
            assert_eq!(observer.observe(), Ok(DockerNat::default()));
            nat(variant, "-F");
            nat(variant, "-X");
        }
    });
}

/// What removes that which an Engine has left behind.
fn left_behind(observer: &mut Observer) -> Vec<String> {
    let seen = observer.observe().expect("an answer").left_behind;
    seen.into_iter().map(|left| left.remedy).collect()
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn a_chain_of_the_legacy_tool_is_seen_by_a_daemon_that_uses_nftables() {
    namespace::fresh(|| {
        let (_dir, settings) = tools(Variant::Legacy);
        let mut observer = Observer::new(None, &settings);
        assert_eq!(observer.observe(), Ok(DockerNat::default()));
        for command in DOCKERS {
            nat(Variant::Legacy, command);
        }
        let seen = observer.observe().expect("an answer");
        assert!(seen.chains, "{seen:?}");
        assert_eq!(texts(&seen.forwards), ["8080/tcp to [fdfd::2]:80"]);

        let filter = |command: &str| sh(&format!("ip6tables-legacy {command}"));
        filter("-N DOCKER");
        filter("-A DOCKER ! -i docker0 -o docker0 -j DROP");
        assert!(left_behind(&mut observer).is_empty());
        filter("-A FORWARD -o docker0 -j DOCKER");
        let command = "ip6tables-legacy -t filter -D DOCKER ! -i docker0 -o docker0 -j DROP";
        assert_eq!(left_behind(&mut observer), [command]);
        // It heals, as it is printed.
        sh(command);
        assert!(left_behind(&mut observer).is_empty());
        // The plain name means the legacy tool here, which does not see what stands in nf_tables.
        sh(
            "ip6tables-nft -N DOCKER && ip6tables-nft -A FORWARD -o docker0 -j DOCKER
            ip6tables-nft -A DOCKER ! -i docker0 -o docker0 -j DROP",
        );
        let command = "ip6tables-nft -t filter -D DOCKER ! -i docker0 -o docker0 -j DROP";
        assert_eq!(left_behind(&mut observer), [command]);
        sh(command);
        assert!(left_behind(&mut observer).is_empty());
    });
}

/// As an Engine 29 keeps it, shortened.
const BRIDGES: &str = "table ip6 docker-bridges {
    map filter-forward-in-jumps { type ifname : verdict; }
    chain nat-PREROUTING {
        type nat hook prerouting priority -100;
        fib daddr type local jump nat-prerouting-and-output
    }
    chain nat-prerouting-and-output {
        ip6 saddr != fe80::/10 tcp dport 8080 counter dnat to [fdfd::2]:80 comment \"DNAT\"
        ip6 daddr 2001:db8:9::1 udp dport 53 counter dnat to [fdfd::3]:5353 comment \"DNAT\"
    }
    chain filter-FORWARD {
        type filter hook forward priority 0;
        oifname vmap @filter-forward-in-jumps
    }
    chain in { counter drop comment \"UNPUBLISHED PORT DROP\"; }
}";

#[test]
#[ignore = "needs nft: run by tests/run"]
fn the_table_of_docker_bridges_counts_only_as_far_as_packets_get() {
    namespace::fresh(|| {
        // Another family's says nothing, nor does another table, nor does it by being there.
        sh(
            "nft add table ip docker-bridges; nft add table ip6 docker-bridge;
             nft add table ip6 docker-bridges",
        );
        assert_eq!(observed(), DockerNat::default());
        sh_with("nft -f -", BRIDGES);
        let seen = observed();
        assert!(seen.chains);
        let forwards = [
            "8080/tcp to [fdfd::2]:80",
            "[2001:db8:9::1]:53/udp to [fdfd::3]:5353",
        ];
        assert_eq!(texts(&seen.forwards), forwards);
        assert!(seen.left_behind.is_empty(), "the map is empty: {seen:?}");
        sh("nft 'add element ip6 docker-bridges filter-forward-in-jumps { docker0 : jump in }'");
        let remedy = "nft delete table ip6 docker-bridges";
        let left = LeftBehind {
            place: "chain in of table ip6 docker-bridges".to_owned(),
            remedy: remedy.to_owned(),
        };
        assert_eq!(observed().left_behind, [left].into());
        // Restored after a `nft flush ruleset`: the rules without what leads to them.
        sh("nft delete chain ip6 docker-bridges nat-PREROUTING");
        let seen = observed();
        assert_eq!((seen.chains, seen.forwards), (false, BTreeSet::new()));
        sh(remedy);
        assert_eq!(observed(), DockerNat::default());
    });
}

/// A set of rules that a real Engine set or left behind.
fn recorded(file: &str) -> String {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");
    let rules = std::fs::read_to_string(format!("{dir}/{file}")).expect("a recording");
    // nft 1.0.6 does not know the name at this hook.
    rules.replace("hook output priority dstnat;", "hook output priority -100;")
}

/// With NAT, and then after a restart with `--ip6tables=false`.
#[test]
#[ignore = "needs nft and ip6tables: run by tests/run"]
fn what_engines_leave_behind_serves_nothing_and_goes_with_the_command_that_is_named() {
    let engines = [
        (
            "ip6tables-nft-restore",
            "support/fake_engine/recorded/engine-28.5.2/rules-on.save",
            "support/fake_engine/recorded/engine-28.5.2/rules-leftover.save",
            9,
        ),
        (
            "nft -f -",
            "kernel/recorded/engine-29.9-nftables/rules-on.nft",
            "kernel/recorded/engine-29.9-nftables/rules-leftover.nft",
            1,
        ),
    ];
    namespace::fresh(|| {
        for (load, on, leftover, drops) in engines {
            sh("nft flush ruleset");
            sh_with(load, &recorded(on));
            let seen = observed();
            assert!(seen.chains, "{on}");
            let served = ["8080/tcp to [fdfd:5898:4917:1::2]:10000"];
            assert_eq!(texts(&seen.forwards), served, "{on}");

            sh("nft flush ruleset");
            sh_with(load, &recorded(leftover));
            let seen = observed();
            assert!(
                seen.chains && seen.forwards.is_empty(),
                "{leftover}: {seen:?}"
            );
            assert_eq!(seen.left_behind.len(), drops, "{leftover}: {seen:?}");
            for left in &seen.left_behind {
                sh(&left.remedy);
            }
            assert!(observed().left_behind.is_empty(), "{leftover}");
        }
    });
}

/// As netavark 1.14 writes it (its `src/firewall/nft.rs`), for `-p 8080:80`; by hand.
const NETAVARK: &str = "table inet netavark {
    chain PREROUTING {
        type nat hook prerouting priority -100; policy accept;
        fib daddr type local jump NETAVARK-HOSTPORT-DNAT
    }
    chain NETAVARK-HOSTPORT-SETMARK { meta mark set mark or 0x2000; }
    chain NETAVARK-HOSTPORT-DNAT {
        tcp dport 8080 jump nv_2f259bab_fd00_nm64_dnat
    }
    chain nv_2f259bab_fd00_nm64_dnat {
        ip6 saddr fd00::/64 tcp dport 8080 jump NETAVARK-HOSTPORT-SETMARK
        ip6 saddr ::1 tcp dport 8080 jump NETAVARK-HOSTPORT-SETMARK
        tcp dport 8080 dnat ip6 to [fd00::2]:80
        ip saddr 10.89.0.0/24 tcp dport 8080 jump NETAVARK-HOSTPORT-SETMARK
        tcp dport 8080 dnat ip to 10.89.0.2:80
    }
}";

#[test]
#[ignore = "needs nft: run by tests/run"]
fn netavarks_forwards_are_seen_apart_from_dockers() {
    namespace::fresh(|| {
        sh_with("nft -f -", NETAVARK);
        let seen = observed();
        assert!(seen.netavark && !seen.chains, "{seen:?}");
        assert_eq!(texts(&seen.podman), ["8080/tcp to [fd00::2]:80"]);
        assert!(seen.forwards.is_empty());
    });
}

//! Rulesets of real programs, as they were recorded, in the way of a published port.

use super::wrong::{NOBODY, Scenario, scenario};
use crate::support::shell::{sh, sh_with};

const UFW: &str = include_str!("../recorded/ufw-0.36.2/rules.save");
const FIREWALLD: &str = include_str!("../recorded/firewalld-1.3.3/rules.nft");
const ENGINE_29_NFTABLES: &str = include_str!("../recorded/engine-29.9-nftables/rules-on.nft");
const LEFT_BY_29: &str = include_str!("../recorded/engine-29.9-nftables/rules-leftover.nft");
const ENGINE_29_IP6TABLES: &str = include_str!("../recorded/engine-29.9-iptables/rules-on.save");
const ENGINE_28: &str =
    include_str!("../../support/fake_engine/recorded/engine-28.5.2/rules-on.save");
const LEFT_BY_28: &str =
    include_str!("../../support/fake_engine/recorded/engine-28.5.2/rules-leftover.save");

/// Loads what a program has written.
fn put(tool: &str, recorded: &str) {
    sh_with(tool, recorded);
}

/// Loads what an Engine has written, with this host's bridge and the port of its container.
fn load(tool: &str, recorded: &str) {
    let here = recorded.replace("docker0", "br0").replace("10000", "80");
    // An older nft prints that name and does not read it.
    let here = here.replace("hook output priority dstnat;", "hook output priority -100;");
    put(tool, &here);
}

/// Only Docker's own NAT forwards.
const BY_DOCKER: &str = "nft delete table ip6 forwarder";

/// A user's rule before Docker's.
const USERS_DROP: &str = "ip6tables-nft -I DOCKER-USER -i eth0 -p tcp -m tcp --dport 80 -j DROP";

/// What is said of it.
const BY_A_HUMAN: [&str; 2] = [
    "by chain DOCKER-USER of ip6tables' table filter",
    "where a human writes rules",
];

/// Every case.
pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario(
            "ufw's own rules",
            "",
            "dropped",
            &["the policy of chain FORWARD", "written by ufw"],
        )
        .with(|_| put("ip6tables-nft-restore", UFW)),
        scenario("firewalld's own rules", "", "reachable", &["reaches one"])
            .with(|_| put("nft -f -", FIREWALLD)),
        scenario(
            "firewalld's own rules, without the one that lets published ports through",
            "",
            "rejected",
            &["of table inet firewalld", "written by firewalld"],
        )
        .with(|_| {
            put("nft -f -", FIREWALLD);
            sh(
                "nft delete rule inet firewalld filter_FORWARD handle $(nft -a list chain inet \
                firewalld filter_FORWARD | sed -n 's/.*dnat accept # handle //p')",
            );
        }),
        scenario(
            "Engine 29 with nftables",
            BY_DOCKER,
            "reachable",
            &["reaches one"],
        )
        .with(|_| load("nft -f -", ENGINE_29_NFTABLES)),
        scenario(
            "what Engine 29 with nftables has left behind",
            "",
            "dropped",
            &[
                "by chain filter-forward-in__br0 of table ip6 docker-bridges",
                "written by Docker",
            ],
        )
        .with(|_| load("nft -f -", LEFT_BY_29)),
        scenario(
            "Engine 29 with nftables and a drop beside it",
            "nft delete table ip6 forwarder
             nft 'add table ip6 mine
              add chain ip6 mine fw { type filter hook forward priority -1; }
              add rule ip6 mine fw iifname eth0 tcp dport 80 drop'",
            "dropped",
            &["by chain fw of table ip6 mine", NOBODY],
        )
        .with(|_| load("nft -f -", ENGINE_29_NFTABLES))
        .mends(),
        scenario(
            "Engine 29 with ip6tables and a drop in DOCKER-USER",
            BY_DOCKER,
            "dropped",
            &BY_A_HUMAN,
        )
        .with(|_| {
            load("ip6tables-nft-restore", ENGINE_29_IP6TABLES);
            sh(USERS_DROP);
        })
        .mends(),
        scenario("Engine 28", BY_DOCKER, "reachable", &["reaches one"])
            .with(|_| load("ip6tables-nft-restore", ENGINE_28)),
        scenario(
            "Engine 28 and a drop in DOCKER-USER",
            BY_DOCKER,
            "dropped",
            &BY_A_HUMAN,
        )
        .with(|_| {
            load("ip6tables-nft-restore", ENGINE_28);
            sh(USERS_DROP);
        })
        .mends(),
        scenario(
            "what Engine 28 has left behind",
            "",
            "dropped",
            &[
                "by chain DOCKER of ip6tables' table filter",
                "written by Docker",
            ],
        )
        .with(|_| load("ip6tables-nft-restore", LEFT_BY_28)),
        scenario(
            "a port of Swarm's",
            BY_DOCKER,
            "not-published",
            &["Swarm itself forwards", "nothing listens on the host"],
        )
        .with(|host| {
            host.engine.edit_networks(|networks| {
                for network in networks.values_mut() {
                    network["Ingress"] = true.into();
                }
            });
        }),
        scenario(
            "an address of another interface",
            "mac=$(ip -o link show eth0 | sed 's/.*ether \\([^ ]*\\).*/\\1/')
             ip link add other type bridge && ip link set other up
             ip addr del 2001:db8::1/64 dev eth0
             ip addr add 2001:db8::1/128 dev other nodad
             ip route add 2001:db8::2/128 dev eth0
             ip -n client neigh replace 2001:db8::1 lladdr $mac dev eth0",
            "reachable",
            &["reaches one"],
        ),
        scenario(
            "rules for another interface",
            "nft flush table ip6 forwarder
             nft add rule ip6 forwarder pre iifname eth9 tcp dport 8080 dnat to \
             [fdfd:5898:4917:1::2]:80",
            "not-forwarded",
            &["is published, and no rule forwards it over IPv6"],
        ),
        scenario(
            "an address of another host",
            "nft delete table ip6 forwarder
             ip addr del 2001:db8::1/64 dev eth0
             ip route add 2001:db8::/64 dev eth0",
            "not-here",
            &["2001:db8::1 is no address of this host"],
        ),
    ]
}

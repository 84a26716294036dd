//! `--back knock`: what only the container's own kernel can say.

use std::process::Command;
use std::time::Duration;

use super::super::flows::scenery::{HOST, PORT};
use super::super::packets::scenery::CLIENT;
use super::traces::Sniffer;
use super::{Host, Told};
use crate::support::namespace;
use crate::support::shell::sh;
use crate::support::wait::{eventually, same};

impl Host {
    pub(super) fn knock(&self, port: &str) -> Told {
        self.explain(&[port, HOST, "--from", CLIENT, "--back", "knock"])
    }
}

#[test]
#[ignore = "needs root and nft: run by tests/run"]
fn a_knock_is_answered_by_the_containers_kernel_and_nothing_stays() {
    namespace::fresh(|| {
        let mut host = Host::build();
        // Nobody looks into this container: its first process is not known.
        host.container.pid = 0;
        host.engine.put(host.container.clone());
        let port = PORT.to_string();
        // The neighbour is known from here on.
        let told = host.knock(&port);
        assert!(told.is_reachable(), "{told:#?}");
        assert!(
            told.text("sentence").contains(", which answers"),
            "{told:#?}"
        );
        let flows = "conntrack -L -f ipv6 2>/dev/null | grep 'dport=8080' || :";
        let half_open = "ip netns exec one ss -Htn state syn-recv";
        let at_client = Sniffer::open("client");
        // Firewalls that know a connection let the reset through, others not.
        sh("nft 'add table inet fw
             add chain inet fw c { type filter hook forward priority 0; policy drop; }
             add rule inet fw c ct state established,related accept
             add rule inet fw c meta l4proto icmpv6 accept
             add rule inet fw c ct state new tcp dport 80 tcp flags syn / fin,syn,rst,ack accept'");
        let told = host.knock(&port);
        assert!(told.is_reachable(), "{told:#?}");
        assert_eq!(sh(flows), "");
        eventually(
            Duration::from_millis(500),
            "no half-open connection",
            || same(sh(half_open), String::new()),
        );
        assert!(
            sh("nft list tables")
                .lines()
                .all(|line| !line.contains("explain"))
        );

        let inside = "ip netns exec one nft 'add table inet in
             add chain inet in c { type filter hook input priority 0; }
             add rule inet in c tcp dport 80";
        let cases = [
            ("drop", "silent", "no answer comes from there"),
            ("reject", "refused", "an error of ICMPv6"),
            ("reject with tcp reset", "refused", "which refuses it"),
        ];
        for (verdict, code, words) in cases {
            sh(&format!("{inside} {verdict}'"));
            let told = host.knock(&port);
            assert_eq!(told.text("code"), code, "{verdict}: {told:#?}");
            assert!(
                told.text("sentence").contains(words),
                "{verdict}: {told:#?}"
            );
            // Without a knock nobody can know.
            let told = host.explain_port();
            assert!(told.is_reachable(), "{verdict}: {told:#?}");
            sh("ip netns exec one nft delete table inet in");
        }
        sh("nft delete table inet fw");
        let told = host.knock("8080/udp");
        let notes = told.said["notes"].to_string();
        assert!(
            told.exit == Some(3) || notes.contains("not knocked"),
            "{told:#?}"
        );
        assert_eq!(at_client.seen(), Vec::<Vec<u8>>::new());
    });
}

#[test]
#[ignore = "needs root and nft: run by tests/run"]
fn nobody_is_knocked_at_where_that_is_impossible_or_harmful() {
    namespace::fresh(|| {
        let host = Host::build();
        sh("ip netns exec one nft 'add table ip6 seen
             add chain ip6 seen c { type filter hook prerouting priority 0; }
             add rule ip6 seen c th dport 80 counter'");
        let port = PORT.to_string();
        let udp = format!("{port}/udp");
        let knock = [HOST, "--from", CLIENT, "--back", "knock", "--json"];

        // Without the capability nothing is sent at all.
        let command = host.command("eth0");
        let mut without = Command::new("setpriv");
        let bounding = ["--bounding-set", "-net_admin"];
        without
            .args(bounding)
            .arg(command.get_program())
            .args(command.get_args());
        let told = Told::of(&without.arg(&port).args(knock).output().expect("it runs"));
        assert_eq!(told.exit, Some(4), "{told:#?}");
        assert!(told.stderr.contains("needs CAP_NET_ADMIN"), "{told:#?}");

        let told = host.explain_on("eth9", &[&port, HOST, "--from", CLIENT, "--back", "knock"]);
        assert_eq!(told.exit, Some(2), "{told:#?}");
        assert!(told.stderr.contains("eth9"), "{told:#?}");

        // The program itself would get such a packet.
        let mut container = host.container.clone();
        for row in &mut container.ports {
            row.proto = "udp".to_owned();
        }
        host.engine.put(container);
        let told = host.knock(&udp);
        host.engine.put(host.container.clone());
        let notes = told.said["notes"].to_string();
        assert!(
            notes.contains(
                "not knocked: with udp the program in the container would get the packet"
            ),
            "{told:#?}"
        );

        // What does not get through is no knock.
        let rows = [
            (
                "nft 'add table ip6 fw; add chain ip6 fw c { type filter hook forward priority 0; }
                 add rule ip6 fw c tcp dport 80 drop'",
                "nft delete table ip6 fw",
                "is dropped by chain c of table ip6 fw",
            ),
            (
                "ip -6 route add unreachable fdfd:5898:4917:1::2",
                "ip -6 route del unreachable fdfd:5898:4917:1::2",
                "route",
            ),
        ];
        for (harm, heal, words) in rows {
            sh(harm);
            let told = host.knock(&port);
            assert_eq!(told.exit, Some(1), "{harm}: {told:#?}");
            assert!(told.text("sentence").contains(words), "{harm}: {told:#?}");
            sh(heal);
        }
        let counted = sh("ip netns exec one nft list table ip6 seen");
        assert!(counted.contains("packets 0 bytes 0"), "{counted}");
        assert!(host.knock(&port).is_reachable());
    });
}

//! What the host itself lacks.

use std::os::unix::net::UnixListener;

use super::{Case, Checked};
use crate::support::namespace;
use crate::support::shell::sh;

const CASES: [Case; 7] = [
    Case::new(
        "forwarding",
        "sysctl -qw net.ipv6.conf.all.forwarding=0",
        "fail",
        "net.ipv6.conf.all.forwarding is 0",
    ),
    Case::new(
        "accept-ra",
        "ip -6 route replace default via 2001:db8:1::2 dev eth0 proto ra
         sysctl -qw net.ipv6.conf.eth0.accept_ra=1",
        "warn",
        "hears no router",
    ),
    Case::new(
        "address",
        "ip -6 addr flush dev eth0 scope global
         ip -6 route replace default via fe80::2 dev eth0",
        "fail",
        "eth0 has no address",
    )
    .fill(&[("ADDRESS", "2001:db8:1::1")]),
    Case::new(
        "default-route",
        "ip -6 route del default",
        "warn",
        "no IPv6 default route",
    )
    .fill(&[("ROUTER", "fe80::2")]),
    Case::new(
        "default-route",
        "ip -6 route del default",
        "fail",
        "no IPv6 default route",
    )
    .with(&["--dev", "auto"])
    .fill(&[("ROUTER", "fe80::2"), ("INTERFACE", "eth0")]),
    Case::new("device", "ip link set eth0 down", "fail", "eth0 is down"),
    Case::new(
        "device",
        "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1",
        "fail",
        "IPv6 is off on the interface eth0",
    ),
];

#[test]
#[ignore = "needs root: run by tests/run"]
fn what_the_host_lacks_is_mended_by_the_remedy_as_it_was_printed() {
    namespace::fresh(|| {
        let host = Checked::new();
        for case in &CASES {
            host.mended(case);
        }
    });
}

/// How many connections may be tracked is set in the first network namespace only, for all of them.
/// So a file stands in the place of that setting, under its name, and the connections are real.
const CROWDED: [Case; 2] = [
    Case::new(
        "kernel",
        "sysctl -n net.netfilter.nf_conntrack_max >/run/most
         mount --bind /run/most /proc/sys/net/netfilter/nf_conntrack_max
         for port in $(seq 9); do
           conntrack -I -p tcp -s 2001:db8:1::9 -d 2001:db8:1::1 --sport $port --dport 80 \
             --state ESTABLISHED -t 600 2>/dev/null
         done
         sysctl -qw net.netfilter.nf_conntrack_max=10",
        "warn",
        "9 of 10 connections are tracked",
    ),
    Case::new(
        "kernel",
        "sysctl -qw net.netfilter.nf_conntrack_max=9",
        "fail",
        "9 of 9 connections are tracked: new ones are dropped",
    ),
];

#[test]
#[ignore = "needs root: run by tests/run"]
fn a_table_of_connections_that_is_full_is_made_larger_by_the_remedy_as_it_was_printed() {
    namespace::fresh(|| {
        let host = Checked::new();
        for case in &CROWDED {
            host.mended(case);
        }
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn an_interface_that_gets_no_requests_is_named_with_the_right_one() {
    namespace::fresh(|| {
        let host = Checked::new();
        let remedy = |dev: &str| {
            let bad = host.bad("device", &["--dev", dev]);
            let [line] = &bad[..] else { panic!("{bad:#?}") };
            assert_eq!(line.result, "fail");
            line.remedy.clone().expect("a remedy")
        };
        assert!(remedy("eth7").starts_with("ip -brief link"));
        sh("ip link add br7 type bridge && ip link set eth0 master br7");
        assert_eq!(remedy("eth0"), "restart with --dev br7");
        sh("ip link property add dev br7 altname wan");
        assert_eq!(remedy("wan"), "restart with --dev br7");
        // The remedy is the option.
        sh("ip link set br7 up");
        host.is_ok("device", &["--dev", "br7"]);
        let last = host.lines(&[], &["--dev", "br7", "--ignore", "device,docker"]);
        assert!(
            last.iter()
                .all(|line| line.id != "device" && line.id != "docker")
        );
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn a_state_directory_that_is_of_no_use_is_mended() {
    namespace::fresh(|| {
        let host = Checked::new();
        let state = host.state_dir().display().to_string();
        let harmed = |harm: &str, result: &str, says: &str| {
            sh(harm);
            let bad = host.bad("journal", &[]);
            let [line] = &bad[..] else { panic!("{bad:#?}") };
            assert_eq!(line.result, result, "{line:?}");
            assert!(line.found.contains(says), "{line:?}");
            let remedy = line.remedy.clone().expect("a remedy");
            eprintln!("{result} journal: {}\n  do {remedy}", line.found);
            sh(&remedy);
            host.is_ok("journal", &[]);
        };
        host.is_ok("journal", &[]);
        let own = format!("mkdir -m 700 {state} && chown nobody {state}");
        harmed(&own, "fail", "belongs to uid 65534");
        let damaged = format!("mkdir {state}/journal.quarantine-2026-01-01T00:00:00Z");
        harmed(&damaged, "warn", "was put aside");
        let read_only = format!("mount -t tmpfs -o ro,mode=700 tmpfs {state}");
        harmed(&read_only, "fail", "read-only");
        sh(&format!("umount {state}"));
        // A link, and a file, are for people to look at.
        sh(&format!("rmdir {state} && ln -s /tmp {state}"));
        assert!(
            host.bad("journal", &[])[0]
                .found
                .contains("is a symbolic link")
        );
        sh(&format!("rm {state} && touch {state}"));
        assert!(
            host.bad("journal", &[])[0]
                .found
                .contains("is not a directory")
        );
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn a_socket_that_roots_daemon_cannot_open_is_mended() {
    namespace::fresh(|| {
        let host = Checked::new();
        let _socket = UnixListener::bind(host.socket()).expect("bind");
        let path = host.socket().display().to_string();
        host.is_ok("privilege", &["--ignore", "docker"]);
        sh(&format!("chown nobody {path} && chmod 600 {path}"));
        let bad = host.bad("privilege", &[]);
        assert!(bad[0].found.contains("is not root's own"), "{bad:?}");
        sh(bad[0].remedy.as_ref().expect("a remedy"));
        host.is_ok("privilege", &[]);
    });
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn a_clock_that_was_never_set_is_seen() {
    namespace::fresh(|| {
        let host = Checked::new();
        host.is_ok("clock", &[]);
        let lines = host.lines(&["faketime", "2001-01-01 00:00:00"], &[]);
        let clock: Vec<_> = lines.iter().filter(|line| line.id == "clock").collect();
        assert_eq!(clock[0].result, "warn", "{clock:?}");
        assert!(clock[0].found.contains("2001-01-01"), "{clock:?}");
        assert_eq!(clock[0].remedy.as_deref(), Some("timedatectl set-ntp true"));
    });
}

//! One `explain` beside another, and beside a kernel that takes its time.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::super::flows::scenery::{HOST, PORT};
use super::super::packets::scenery::CLIENT;
use super::{Host, Told};
use crate::support::namespace;
use crate::support::process;
use crate::support::shell::sh;
use crate::support::wait::{SOON, eventually, same};

/// Which logger IPv6 has.
fn logger() -> String {
    fs::read_to_string("/proc/sys/net/netfilter/nf_log/10").expect("netfilter logs")
}

/// Files that explain makes.
fn files() -> String {
    sh("ls /run/docker-nat66 2>/dev/null || :")
}

const DROP: &str = "ip6tables-legacy -A FORWARD -p tcp --dport 80 -j DROP";

#[test]
#[ignore = "needs root and nft: run by tests/run"]
fn several_that_hear_the_log_at_once_leave_it_as_it_was() {
    namespace::fresh(|| {
        let host = Host::build();
        let before = logger();
        sh(DROP);
        let port = PORT.to_string();
        let start = |_| {
            let mut command = host.command("eth0");
            command.args([&port, HOST, "--from", CLIENT, "--json"]);
            command.stdout(Stdio::piped()).spawn().expect("it starts")
        };
        let running: Vec<_> = (0..6).map(start).collect();
        for child in running {
            let told = Told::of(&child.wait_with_output().expect("it ends"));
            assert_eq!(told.text("code"), "dropped-by-legacy", "{told:#?}");
            assert!(
                told.text("sentence").contains("by rule 1 of chain FORWARD"),
                "{told:#?}"
            );
        }
        assert_eq!((logger(), files()), (before, String::new()));
    });
}

#[test]
#[ignore = "needs root and nft: run by tests/run"]
fn what_one_that_is_killed_leaves_of_the_log_the_next_puts_back() {
    namespace::fresh(|| {
        let host = Host::build();
        let before = logger();
        sh(DROP);
        let mut command = host.command("eth0");
        command.args([&PORT.to_string(), HOST, "--from", CLIENT]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        // It hears the log for a tenth of a second.
        eventually(SOON, "one that is killed meanwhile", || {
            let mut child = command.spawn().expect("it starts");
            let bound = loop {
                match (logger() != before, child.try_wait().expect("wait")) {
                    (false, None) => {}
                    (is_bound, _) => break is_bound,
                }
            };
            process::kill(&mut child);
            match bound && logger() != before {
                true => Ok(()),
                false => Err("it was over"),
            }
        });
        sh("ip6tables-legacy -F");
        let told = host.explain_port();
        assert!(told.is_reachable(), "{told:#?}");
        let notes = told.said["notes"].to_string();
        assert!(notes.contains("nf_log.10 was put back"), "{notes}");
        assert_eq!((logger(), files()), (before, String::new()));
        assert_eq!(host.explain_port().said["notes"].to_string(), "[]");
    });
}

#[test]
#[ignore = "needs root and nft: run by tests/run"]
fn a_neighbour_who_answers_the_last_question_is_waited_for() {
    namespace::fresh(|| {
        let host = Host::build();
        // The container passes over the first two questions for its hardware address.
        sh("ip netns exec one nft 'add table ip6 slow
             add chain ip6 slow in { type filter hook input priority 0; }
             add rule ip6 slow in icmpv6 type nd-neighbor-solicit numgen inc mod 1000 < 2 drop'
            ip neigh flush dev br0");
        let begun = Instant::now();
        let told = host.explain_port();
        assert!(told.is_reachable(), "{told:#?}");
        assert!(
            begun.elapsed() >= Duration::from_millis(1500),
            "it was known before"
        );
        let flows = "conntrack -L -f ipv6 2>/dev/null | grep 'dport=8080' || :";
        eventually(SOON, "no entry of the probe", || {
            same(sh(flows), String::new())
        });
    });
}

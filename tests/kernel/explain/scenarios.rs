//! One thing wrong at a time: the sentence names it, a real client finds the same, and the command
//! that is given mends it.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use docker_nat66::model::forward::Proto;
use serde_json::{Value, json};

use super::super::flows::scenery::{HOST, PORT};
use super::super::packets::scenery::{CLIENT, client};
use super::wrong::{Scenario, scenarios};
use super::{Host, Told, others};
use crate::support::fake_engine::FakeContainer;
use crate::support::namespace;
use crate::support::process;
use crate::support::shell::sh;
use crate::support::together::{Case, case, together};
use crate::support::wait::{SOON, eventually, same};

/// How long a client that is to be answered may try.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many cases run at a time, each with four namespaces.
const AT_ONCE: usize = 6;

#[test]
#[ignore = "needs root and nft: run by tests/run"]
fn the_sentence_names_what_is_wrong_and_a_real_client_finds_the_same() {
    namespace::fresh(|| {
        let all = scenarios().into_iter().chain(others::scenarios());
        let mut cases: Vec<Case> = all
            .map(|scenario| case(scenario.name, move || check(&scenario)))
            .collect();
        while !cases.is_empty() {
            let rest = cases.split_off(AT_ONCE.min(cases.len()));
            together(cases);
            cases = rest;
        }
    });
}

fn check(scenario: &Scenario) {
    let mut host = Host::build();
    // Neighbours are known, and the way is open.
    assert!(is_answered(true), "before: {}", scenario.name);
    sh("conntrack -F 2>/dev/null || :");
    sh(scenario.set);
    (scenario.more)(&mut host);
    let told = host.explain_port();
    let name = scenario.name;
    assert_eq!(told.text("code"), scenario.code, "{name}: {told:#?}");
    for words in scenario.words {
        assert!(told.text("sentence").contains(words), "{name}: {told:#?}");
    }
    let expected = told.is_reachable();
    assert_eq!(is_answered(expected), expected, "{name}: {told:#?}");
    if scenario.mends {
        let remedy = told.text("do");
        sh(remedy);
        let told = host.explain_port();
        assert!(told.is_reachable(), "{name}: after {remedy:?}: {told:#?}");
        assert!(is_answered(true), "{name}: after {remedy:?}");
    }
    assert_eq!(
        sh("conntrack -L -f ipv6 2>/dev/null | grep -c 'SYN_SENT.*UNREPLIED.*:dead' || :").trim(),
        "0"
    );
}

/// Whether the right one answers a client. One who is expected to be answered may take his time.
fn is_answered(expected: bool) -> bool {
    let begun = Instant::now();
    loop {
        let answer = client().ask(Proto::Tcp, HOST, PORT);
        let is_right = answer.is_ok_and(|who| who == format!("one {CLIENT}") || who == "host");
        if is_right || !expected || begun.elapsed() > PATIENCE {
            return is_right;
        }
    }
}

#[test]
#[ignore = "needs root and nft: run by tests/run"]
fn what_nobody_publishes_and_what_may_not_be_followed_have_exit_codes_of_their_own() {
    namespace::fresh(|| {
        let host = Host::build();
        let unpublished = host.explain(&["9999", HOST]);
        assert_eq!(unpublished.exit, Some(3), "{unpublished:?}");
        assert!(unpublished.stderr.contains("nothing publishes 9999/tcp"));
        let of = |args: &[&str]| -> Told { host.explain(args) };
        for wrong in [&["0"][..], &["8080/icmp"], &["8080", "192.0.2.1"]] {
            assert_eq!(of(wrong).exit, Some(2), "{wrong:?}");
        }
        for args in [&["8080", HOST][..], &["8080"]] {
            let missing = host.explain_on("nodev", args);
            assert_eq!(missing.exit, Some(2), "{missing:?}");
            let words = "there is no interface nodev";
            assert!(missing.stderr.contains(words), "{missing:?}");
        }
        let bare = confined(&host, "-all");
        assert_eq!(bare.exit, Some(4), "{bare:?}");
        assert!(bare.stderr.contains("CAP_NET_ADMIN"), "{bare:?}");
    });
}

#[test]
#[ignore = "needs root and nft: run by tests/run"]
fn a_port_whose_container_docker_does_not_list_it_for_is_not_called_unpublished() {
    namespace::fresh(|| {
        let host = Host::build();
        let mut own = FakeContainer::new(9, "own");
        let mut row = own.row();
        row["HostConfig"]["NetworkMode"] = "host".into();
        row["NetworkSettings"]["Networks"] = json!({"host": {"NetworkID": "0123"}});
        own.raw_row = Some(row);
        host.engine.put(own.clone());
        // Nobody listens, so it is not that container's.
        let unpublished = host.explain(&["9999", HOST]);
        assert_eq!(unpublished.exit, Some(3), "{unpublished:?}");
        let _listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 9999)).expect("free");
        let told = host.explain(&["9999", HOST, "--from", CLIENT]);
        assert!(told.is_reachable(), "{told:#?}");
        assert_eq!(told.text("code"), "answered-by-host", "{told:#?}");
        let words = "container own (000000000000), on the host's network, may serve the port";
        assert!(told.text("sentence").contains(words), "{told:#?}");

        let _listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 9997)).expect("free");
        let told = host.explain(&["9997", HOST, "--from", CLIENT]);
        assert!(!told.is_reachable(), "{told:#?}");
        assert_eq!(told.text("code"), "not-published", "{told:#?}");
        for words in [words, "over IPv4 only"] {
            assert!(told.text("sentence").contains(words), "{told:#?}");
        }

        // Its first process is another than the one that listens.
        let first = Sleeping::with_mounts_of_its_own();
        own.pid = first.0.id();
        host.engine.put(own.clone());
        let name = std::fs::read_to_string("/proc/self/comm").expect("readable");
        let mine = format!("{} (pid {})", name.trim_end(), std::process::id());
        for port in ["9999", "9997"] {
            let named =
                format!("nothing publishes {port}/tcp: the host's own process {mine} serves it");
            eventually(SOON, "its mounts to be its own", || {
                let told = host.explain(&[port, HOST]);
                let is_named = told.stderr.contains(&named);
                same((told.exit, is_named), (Some(3), true)).map_err(|e| (e, told))
            });
        }
        // Where the sockets of others may not be seen, it may be the container's.
        let told = confined_at(&host, "9999", "-all,+net_admin");
        assert_eq!(told.text("code"), "answered-by-host", "{told:#?}");
        assert!(told.text("sentence").contains(words), "{told:#?}");

        // Without Docker nobody knows.
        host.engine.stop();
        let told = host.explain(&["9998", HOST, "--from", CLIENT]);
        assert!(!told.is_reachable(), "{told:#?}");
        assert_eq!(told.text("code"), "not-forwarded", "{told:#?}");
        let notes = told.said["notes"].to_string();
        assert!(notes.contains("Docker could not be asked"), "{told:#?}");
    });
}

#[test]
#[ignore = "needs root and nft: run by tests/run"]
fn verbose_shows_each_rule_that_matched_and_sctp_is_followed_like_the_others() {
    namespace::fresh(|| {
        let mut host = Host::build();
        sh("nft 'add table inet counting
            add chain inet counting fw { type filter hook forward priority 5; }
            add rule inet counting fw iifname eth0 counter comment seen'");
        let port = PORT.to_string();
        let args = [&port, HOST, "--from", CLIENT];
        let rules = |told: &Told, way: &str| {
            let steps = told.said[way].as_array().cloned().unwrap_or_default();
            let shown = steps.iter().filter(|step| step["table"] == "counting");
            shown
                .map(|step| step["verdict"].clone())
                .collect::<Vec<_>>()
        };
        let brief = host.explain(&args);
        assert!(brief.is_reachable(), "{brief:#?}");
        assert_eq!(rules(&brief, "way"), Vec::<Value>::new(), "{brief:#?}");
        assert_eq!(brief.said["back"], json!([]), "{brief:#?}");
        let verbose = host.explain(&[&args[..], &["--verbose"]].concat());
        assert!(verbose.is_reachable(), "{verbose:#?}");
        assert_eq!(rules(&verbose, "way"), ["continue"], "{verbose:#?}");
        let mut command = host.command("eth0");
        let screen = command.args(args).arg("--verbose").output().expect("runs");
        let screen = String::from_utf8_lossy(&screen.stdout).into_owned();
        let line =
            "           forward         5  inet counting, chain fw: iifname \"eth0\" counter ";
        assert!(screen.lines().any(|l| l.starts_with(line)), "{screen}");

        host.container.ports[0].proto = "sctp".to_owned();
        host.engine.put(host.container.clone());
        sh(
            "nft add rule ip6 forwarder pre iifname eth0 meta l4proto sctp th dport 8080 \
            dnat to [fdfd:5898:4917:1::2]:80",
        );
        let sctp = host.explain(&["8080/sctp", HOST, "--from", CLIENT]);
        assert!(sctp.is_reachable(), "{sctp:#?}");
        let notes = sctp.said["notes"].to_string();
        assert!(notes.contains("lists no sockets of sctp here"), "{sctp:#?}");
    });
}

#[test]
#[ignore = "needs root and nft: run by tests/run"]
fn the_tool_of_the_other_variant_is_named_where_the_plain_name_does_not_mean_it() {
    namespace::fresh(|| {
        // In this mount namespace only.
        sh("cp -a /etc/alternatives /run/alternatives
            for tool in ip6tables ip6tables-save ip6tables-restore; do
            ln -sfn /usr/sbin/ip6tables-legacy${tool#ip6tables} /run/alternatives/$tool; done
            mount --bind /run/alternatives /etc/alternatives");
        let host = Host::build();
        for (set, remedy) in [
            (
                "ip6tables-nft -P FORWARD DROP",
                "ip6tables-nft -P FORWARD ACCEPT",
            ),
            (
                "ip6tables-nft -A FORWARD -i eth0 -j DROP",
                "ip6tables-nft -D FORWARD -i eth0 -j DROP",
            ),
        ] {
            sh(set);
            let told = host.explain_port();
            assert_eq!(told.text("do"), remedy, "{told:#?}");
            sh(remedy);
            assert!(host.explain_port().is_reachable(), "{set}");
        }
    });
}

/// A process that does nothing, and ends with the test.
struct Sleeping(Child);

impl Sleeping {
    fn with_mounts_of_its_own() -> Self {
        let mut command = Command::new("unshare");
        let quiet = command.args(["-m", "sleep", "infinity"]);
        let quiet = quiet.stdout(Stdio::null()).stderr(Stdio::null());
        Self(quiet.spawn().expect("it runs"))
    }
}

impl Drop for Sleeping {
    fn drop(&mut self) {
        process::kill(&mut self.0);
    }
}

/// What it says of the published port with these capabilities alone.
fn confined(host: &Host, capabilities: &str) -> Told {
    confined_at(host, &PORT.to_string(), capabilities)
}

/// The same of another port.
fn confined_at(host: &Host, port: &str, capabilities: &str) -> Told {
    let whole = host.command("eth0");
    let mut wrapped = Command::new("setpriv");
    wrapped.arg(format!("--bounding-set={capabilities}"));
    wrapped.arg("--inh-caps=-all");
    wrapped.arg(whole.get_program()).args(whole.get_args());
    let asked = wrapped.args([port, HOST, "--from", CLIENT, "--json"]);
    Told::of(&asked.output().expect("it runs"))
}

#[test]
#[ignore = "needs root and nft: run by tests/run"]
fn without_bpf_a_tap_serves_and_leaves_nothing() {
    namespace::fresh(|| {
        let host = Host::build();
        let links = sh("ip -o link");
        let reached = confined(&host, "-all,+net_admin");
        assert!(reached.is_reachable(), "{reached:#?}");
        assert_eq!(reached.text("injected_by"), "tap", "{reached:#?}");
        sh("nft 'add table inet myfw
            add chain inet myfw fw { type filter hook forward priority 10; }
            add rule inet myfw fw iifname eth0 tcp dport 80 drop'");
        let dropped = confined(&host, "-all,+net_admin");
        assert_eq!(dropped.text("code"), "dropped", "{dropped:#?}");
        sh("nft delete table inet myfw
            ip6tables-nft -A FORWARD -i br0 -j DROP");
        let lost = confined(&host, "-all,+net_admin");
        assert_eq!(lost.text("code"), "answer-dropped", "{lost:#?}");
        assert_eq!(sh("ip -o link"), links);
    });
}

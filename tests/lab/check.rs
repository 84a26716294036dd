//! `check` beside a real Engine, with what a client finds beside what it says.

use crate::support::PROGRAM;
use crate::support::lab::daemon::Daemon;
use crate::support::lab::engine::Engine;
use crate::support::lab::release;
use crate::support::lab::space::Place;
use crate::support::lab::talk::Proto::Tcp;
use crate::support::lab::{CLIENT, Lab, PREFIX};

use serde_json::Value;

const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", PREFIX];
const WEB: &str = "[2001:db8::1]:8080";

/// Result, words and remedy of each line with this id.
#[track_caller]
fn check(place: Place<'_>, id: &str, args: &[&str]) -> Vec<(String, String, String)> {
    let output = place.output(&[&[PROGRAM, "check", "--json"], args].concat());
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    let code = i32::from(report["fail"] != 0);
    assert_eq!(output.status.code(), Some(code), "{report}");
    let lines = report["checks"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of_id = lines.iter().filter(|line| line["id"] == id);
    of_id
        .map(|line| {
            (
                text(&line["result"]),
                text(&line["found"]),
                text(&line["do"]),
            )
        })
        .collect()
}

/// The remedy of the only line with this id, which has this result and these words.
#[track_caller]
fn remedy(lab: &Lab, id: &str, args: &[&str], result: &str, words: &str) -> String {
    let lines = check(lab.host(), id, args);
    let [(found, said, remedy)] = &lines[..] else {
        panic!("{lines:#?}");
    };
    assert!(found == result && said.contains(words), "{lines:?}");
    eprintln!("{result} {id}: {said}\n  do {remedy}");
    remedy.clone()
}

#[track_caller]
fn is_ok(lab: &Lab, id: &str, args: &[&str]) {
    let lines = check(lab.host(), id, args);
    assert!(
        lines.iter().all(|(result, ..)| result == "ok"),
        "{lines:#?}"
    );
    assert!(!lines.is_empty(), "no line {id}");
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_network_without_ipv6_is_given_it_by_the_remedy_as_it_was_printed() {
    let lab = Lab::up("check_ipv6");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let auto = ["--dev", "eth0", "--prefix", "auto"];
    is_ok(&lab, "docker", &auto);
    is_ok(&lab, "docker-proxy-socket", &auto);
    engine.docker(&["network", "create", "plain"]);
    engine.run("web", &["--network", "plain", "-p", "8080:80"], &["tcp:80"]);
    let daemon = Daemon::ready(&lab, &auto);
    lab.is_closed(Tcp, WEB);
    let says = "network plain has IPv6 off: 1 published port stays closed";
    let mend = remedy(&lab, "docker-ipv6", &auto, "fail", says);
    lab.host().sh(&mend);
    is_ok(&lab, "docker-ipv6", &auto);
    lab.answers(Tcp, WEB, "web", CLIENT);
    daemon.leaves();

    // One of Compose's is mended in its file.
    engine.remove("web");
    engine.docker(&["network", "create", "app_default"]);
    let label = "com.docker.compose.project=app";
    let ports = ["-p", "8080:80", "-p", "8081:81"];
    let options = [&["--network", "app_default", "--label", label], &ports[..]].concat();
    engine.run("web", &options, &["tcp:80"]);
    let says = "network app_default has IPv6 off: 2 published ports stay closed";
    let mend = remedy(&lab, "docker-ipv6", &auto, "fail", says);
    let line = "in compose.yaml: networks: {default: {enable_ipv6: true";
    assert!(mend.starts_with(line), "{mend}");
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_wrong_prefix_and_a_wrong_namespace_are_named() {
    let lab = Lab::up("check_prefix");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let wrong = ["--dev", "eth0", "--prefix", "fd99::/64"];
    let says = "no container that publishes a port has an address in --prefix fd99::/64";
    let mend = remedy(&lab, "prefix", &wrong, "fail", says);
    let right: Vec<&str> = mend
        .strip_prefix("restart with ")
        .expect("options")
        .split(' ')
        .collect();
    assert_eq!(right, ["--prefix", PREFIX]);
    let args = [&["--dev", "eth0"], &right[..]].concat();
    // That is the example of the documentation, and works here.
    remedy(
        &lab,
        "prefix",
        &args,
        "warn",
        "is the example of the documentation",
    );
    is_ok(&lab, "netns", &args);

    let wide = ["--dev", "eth0", "--prefix", "2001:db8::/32"];
    let lines = check(lab.host(), "prefix", &wide);
    let overlaps = |(result, said, _): &(String, String, String)| {
        result == "fail" && said.contains("contains 2001:db8::/64, the network of eth0")
    };
    assert!(lines.iter().any(overlaps), "{lines:?}");
    let documented = |(result, said, _): &(String, String, String)| {
        result == "warn" && said.contains("the range for documentation")
    };
    assert!(lines.iter().any(documented), "{lines:?}");

    let lines = check(lab.client(), "netns", &ARGS);
    let [(result, said, _)] = &lines[..] else {
        panic!("{lines:?}")
    };
    assert!(
        result == "fail" && said.contains("is not in this network namespace"),
        "{lines:?}"
    );
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_drop_that_nftables_cannot_overrule_is_mended_for_the_client_too() {
    let lab = Lab::up("check_drop");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let args = [&ARGS[..], &["--backend", "nftables"]].concat();
    let daemon = Daemon::ready(&lab, &args);
    lab.answers(Tcp, WEB, "web", CLIENT);
    is_ok(&lab, "forward-drop", &args);
    is_ok(&lab, "leftovers", &args);
    let drops = [
        "nft 'add table inet myfw { chain fw { type filter hook forward priority 10; policy drop;
           ct state established,related accept; }; }'",
        "ip6tables -P FORWARD DROP",
    ];
    for drop in drops {
        lab.host().sh(drop);
        lab.is_closed(Tcp, WEB);
        let mend = remedy(&lab, "forward-drop", &args, "fail", "the policy of chain");
        lab.host().sh(&mend);
        is_ok(&lab, "forward-drop", &args);
        lab.answers(Tcp, WEB, "web", CLIENT);
    }
    daemon.leaves();
    // A daemon says so by itself, and is well again by itself.
    lab.host().sh("nft delete table inet myfw");
    lab.host().sh(drops[0]);
    let args = [&args[..], &["--verify-interval", "1s"]].concat();
    let mut daemon = Daemon::ready(&lab, &args);
    daemon.says("degraded: forward-drop: the policy of chain fw of table inet myfw");
    let screen = String::from_utf8_lossy(&daemon.command(&["status"]).stdout).into_owned();
    let mend = "nft insert rule inet myfw fw ct status dnat accept";
    let mends = format!("\n      do            {mend}\n");
    assert!(screen.contains(&mends), "{screen}");
    lab.host().sh(mend);
    daemon.says("no longer: forward-drop");
    lab.answers(Tcp, WEB, "web", CLIENT);
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_prefix_that_knows_one_of_two_networks_is_named_beside_a_strict_way_back() {
    let lab = Lab::up("check_partial");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    // Docker answers by the network whose name comes first.
    engine.network("aaa", "fd22::/64", &[]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    engine.docker(&["network", "connect", "aaa", "web"]);
    let args = [&ARGS[..], &["--verify-interval", "1s"]].concat();
    let mut daemon = Daemon::ready(&lab, &args);
    let strict = "nft 'add table inet t { chain c { type filter hook prerouting priority -300;
        meta nfproto ipv6 fib saddr . iif oif missing drop; }; }'";
    lab.host().sh(strict);
    lab.is_closed(Tcp, WEB);
    daemon.says("degraded: prefix-partial: container web");
    let mend = remedy_of(&lab, "prefix", &ARGS, "answers by its network aaa");
    daemon.leaves();
    let right = mend
        .strip_prefix("restart with --prefix ")
        .expect("prefixes");
    assert_eq!(right, format!("{PREFIX},fd22::/64"));
    let daemon = Daemon::ready(&lab, &["--dev", "eth0", "--prefix", right]);
    lab.answers(Tcp, WEB, "web", CLIENT);
    daemon.leaves();
}

/// The remedy of the line with this id that has these words and fails.
#[track_caller]
fn remedy_of(lab: &Lab, id: &str, args: &[&str], words: &str) -> String {
    let lines = check(lab.host(), id, args);
    let mut named = lines
        .iter()
        .filter(|(result, said, _)| result == "fail" && said.contains(words));
    named
        .next()
        .unwrap_or_else(|| panic!("{lines:#?}"))
        .2
        .clone()
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn dockers_own_nat_is_seen_on_and_off_and_what_it_leaves_behind() {
    let lab = Lab::up("check_native");
    let nat = release::in_use().native();
    let mut engine = Engine::up(&lab, &[nat, &["--userland-proxy=false"]].concat());
    engine.run("web", &["--restart=always", "-p", "8080:80"], &["tcp:80"]);
    lab.answers(Tcp, WEB, "web", CLIENT);
    let on = "is on and serves every published port";
    let lines = check(lab.host(), "docker-native", &ARGS);
    assert!(lines[0].0 == "ok" && lines[0].1.contains(on), "{lines:?}");
    is_ok(&lab, "leftovers", &ARGS);

    engine.restart_with(&["--userland-proxy=false"]);
    let lines = check(lab.host(), "docker-native", &ARGS);
    assert!(
        lines[0].0 == "ok" && lines[0].1.contains("is off"),
        "{lines:?}"
    );
    let nftables = [&ARGS[..], &["--backend", "nftables"]].concat();
    // What the Engine left drops until the remedies have run: one line for each.
    for (result, said, remedy) in check(lab.host(), "forward-drop", &nftables) {
        eprintln!("{result} forward-drop: {said}\n  do {remedy}");
        if result != "ok" {
            lab.host().sh(&remedy);
        }
    }
    is_ok(&lab, "forward-drop", &nftables);
    let daemon = Daemon::ready(&lab, &nftables);
    lab.answers(Tcp, WEB, "web", CLIENT);
    daemon.leaves();
}

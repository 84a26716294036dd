//! The daemon's own nftables table: what other programs can do to it, and what it outlives.

use std::process::Output;

use serde_json::Value;

use crate::journal;
use crate::steady::while_connecting;
use crate::support::backend::Backend;
use crate::support::lab::daemon::{self, Daemon};
use crate::support::lab::engine::Engine;
use crate::support::lab::rules;
use crate::support::lab::space::Place;
use crate::support::lab::talk::Proto::{Tcp, Udp};
use crate::support::lab::talk::{Answer, Flow};
use crate::support::lab::{CLIENT, HOST, Lab, PREFIX};
use crate::support::process::kill;
use crate::support::wait::{SOON, eventually};

const ARGS: [&str; 6] = ["--dev", "eth0", "--prefix", PREFIX, "--backend", "nftables"];
const WEB: &str = "[2001:db8::1]:8080";

/// The attempts of other programs: the kernel refuses all but one, and that one skips the table.
const HARMS: [&str; 8] = [
    "flush ruleset",
    "delete table ip6 docker_nat66",
    "add table ip6 docker_nat66 { flags dormant; }",
    "add element ip6 docker_nat66 forwards { tcp . 9999 : fdfd:5898:4917:1::2 . 80 }",
    "delete element ip6 docker_nat66 forwards { tcp . 8080 }",
    "flush map ip6 docker_nat66 forwards",
    "flush chain ip6 docker_nat66 prerouting",
    "insert rule ip6 docker_nat66 forward drop",
];

fn nft(host: Place<'_>, line: &str) -> Output {
    host.output(&["nft", line])
}

/// The table with its chains and handles, without counters.
fn table(host: Place<'_>) -> String {
    host.run(&["nft", "-s", "-a", "list", "table", "ip6", "docker_nat66"])
}

fn status(daemon: &Daemon<'_>) -> Value {
    let output = daemon.command(&["status", "--json"]);
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn while_the_daemon_runs_others_change_nothing() {
    let lab = Lab::up("table_owned");
    let host = lab.host();
    // Without rules of the Engine's own, which the flush would remove.
    let engine = Engine::up(&lab, &["--userland-proxy=false", "--iptables=false"]);

    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    lab.answers(Tcp, WEB, "web", CLIENT);
    let before = table(host);
    while_connecting(&lab, WEB, "web", || {
        for harm in HARMS {
            println!("{harm}");
            let tried = nft(host, harm);
            let said = String::from_utf8_lossy(&tried.stderr).into_owned();
            match harm {
                "flush ruleset" => assert!(tried.status.success(), "{said}"),
                _ => assert!(said.contains("Operation not permitted"), "{harm}: {said}"),
            }
            assert_eq!(table(host), before, "{harm}");
        }
    });
    engine.run("new", &["-p", "8081:80"], &["tcp:80"]);
    lab.answers(Tcp, &format!("[{HOST}]:8081"), "new", CLIENT);
    let status = status(&daemon);
    assert_eq!(status["state"], "running", "{status}");
    assert_eq!(status["drift_repairs"], 0, "{status}");
    journal::agrees(&lab);
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_table_outlives_its_daemon_and_is_adopted_without_a_lost_packet() {
    let lab = Lab::up("table_adopted");
    let host = lab.host();
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let ports = ["-p", "8080:80", "-p", "8053:53/udp"];
    engine.run("web", &ports, &["tcp:80", "udp:53"]);
    let mut daemon = Daemon::ready(&lab, &ARGS);
    let udp = format!("[{HOST}]:8053");
    lab.answers(Tcp, WEB, "web", CLIENT);
    lab.answers(Udp, &udp, "web", CLIENT);
    let mut line = lab.connect(WEB);
    let flow = Flow::open(lab.client(), &udp);
    let mut goes_on = |when: &str| {
        assert_eq!(line.echo(when).as_deref(), Ok(when));
        let answer = Answer {
            name: "web".to_owned(),
            peer: CLIENT.into(),
        };
        assert_eq!(flow.ask(), Ok(answer), "{when}");
    };
    let ours = rules::ours(host);
    let handle = |table: &str| {
        let first = table.lines().next().unwrap_or_default();
        let handle = first.rsplit("# handle ").next();
        handle.unwrap_or_default().to_owned()
    };
    let before = handle(&table(host));
    let daemon = while_connecting(&lab, WEB, "web", || {
        for _ in 0..5 {
            daemon.sigkill();
            goes_on("orphaned");
            assert_eq!(rules::ours(host), ours);
            daemon = Daemon::ready(&lab, &ARGS);
            goes_on("adopted");
            assert_eq!(rules::ours(host), ours);
            assert_eq!(handle(&table(host)), before, "it is the same table");
            // The table is owned again.
            assert!(!nft(host, HARMS[1]).status.success());
            assert!(!daemon.log().contains("NAT66 "), "{}", daemon.log());
        }
        daemon
    });
    journal::agrees(&lab);
    daemon.leaves();
    assert_eq!(rules::ours(host), Vec::<String>::new());
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn what_stays_on_purpose_is_nobody_s_and_can_be_saved_and_loaded() {
    let lab = Lab::up("table_keep");
    let host = lab.host();
    let engine = Engine::up(&lab, &["--userland-proxy=false", "--iptables=false"]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let daemon = Daemon::ready(&lab, &[&ARGS[..], &["--on-exit", "keep"]].concat());
    lab.answers(Tcp, WEB, "web", CLIENT);
    let ours = rules::ours(host);
    while_connecting(&lab, WEB, "web", || daemon.leaves());
    let shown = host.run(&["nft", "-s", "list", "ruleset"]);
    // The table's flags stand before the first set; here it has none.
    assert!(
        shown.starts_with("table ip6 docker_nat66 {\n\tset "),
        "{shown}"
    );
    assert_eq!(rules::ours(host), ours);

    host.sh("nft list ruleset >/run/lab/saved; nft flush ruleset");
    lab.is_closed(Tcp, WEB);
    host.sh("nft -f /run/lab/saved");
    assert_eq!(host.run(&["nft", "-s", "list", "ruleset"]), shown);
    lab.answers(Tcp, WEB, "web", CLIENT);
    // The next daemon takes the table over.
    let next = || Daemon::ready(&lab, &ARGS);
    let daemon = while_connecting(&lab, WEB, "web", next);
    assert_eq!(rules::ours(host), ours);
    assert!(!nft(host, HARMS[1]).status.success());
    daemon.leaves();
    assert_eq!(rules::as_before(host), rules::Tables::new());
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn tables_of_the_same_name_in_other_families_are_nobody_s_business() {
    let lab = Lab::up("table_families");
    let host = lab.host();
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    for family in ["inet", "ip"] {
        host.sh(&format!(
            "nft -f - <<'EOF'
table {family} docker_nat66 {{
  set egress {{ type ifname; elements = {{ \"eth0\" comment \"docker-nat66:0123456789abcdef\" }}; }}
  chain forward {{ type filter hook forward priority 0; iifname @egress counter accept; }}
}}
EOF"
        ));
    }
    let before = rules::as_before(host);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    lab.answers(Tcp, WEB, "web", CLIENT);
    assert_eq!(rules::theirs(host), before);
    daemon.sigkill();
    Daemon::ready(&lab, &ARGS).sigkill();
    assert_eq!(rules::theirs(host), before);
    let cleanup = daemon::command(&lab, &["cleanup"]);
    assert!(cleanup.status.success(), "{cleanup:?}");
    assert_eq!(rules::as_before(host), before);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_table_that_another_process_owns_is_waited_for() {
    let lab = Lab::up("table_others");
    let host = lab.host();
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    // This nft process owns the table until its input ends.
    let hold = "(echo 'add table ip6 docker_nat66 { flags owner; }'; exec sleep 600) | nft -i";
    let mut holder = host.spawn("sh", &["-c", hold], &lab.log("holder"));
    eventually(SOON, "the other's table", || {
        let listed = nft(host, "list table ip6 docker_nat66");
        listed.status.success().then_some(()).ok_or(listed)
    });
    let mut daemon = Daemon::start(&lab, &ARGS);
    daemon.says("degraded: ");
    assert_eq!(status(&daemon)["state"], "degraded");
    lab.is_closed(Tcp, WEB);
    // The kernel removes the table with the process that owns it.
    host.sh("for process in /proc/[0-9]*; do
             [ \"$(cat $process/comm)\" != nft ] || kill ${process#/proc/}
         done 2>/dev/null");
    kill(&mut holder);
    daemon.says("every rule is as it should be again");
    lab.answers(Tcp, WEB, "web", CLIENT);
    journal::agrees(&lab);
    assert!(!nft(host, HARMS[1]).status.success());
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn what_drops_in_forward_drops_published_ports_too() {
    let lab = Lab::up("table_drop");
    let host = lab.host();
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    lab.answers(Tcp, WEB, "web", CLIENT);
    host.run(&["ip6tables", "-P", "FORWARD", "DROP"]);
    lab.is_closed(Tcp, WEB);
    host.sh(Backend::Nftables.open_forward());
    lab.answers(Tcp, WEB, "web", CLIENT);
    daemon.leaves();
}

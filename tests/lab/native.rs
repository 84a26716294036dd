//! Docker's own IPv6 NAT: the daemon stands by while it is on, and follows when that changes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::support::backend::{Backend, in_use};
use crate::support::lab::daemon::{self, Daemon};
use crate::support::lab::engine::Engine;
use crate::support::lab::release;
use crate::support::lab::rules;
use crate::support::lab::talk::Proto::Tcp;
use crate::support::lab::{CLIENT, HOST, Lab, PREFIX};
use crate::support::wait::{SOON, eventually, same};

const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", PREFIX];
const WEB: &str = "[2001:db8::1]:8080";

/// How a listing shows a forward of port 8080: as a rule or as an element.
const DNATS: [&str; 2] = ["dport 8080 ", "tcp . 8080 "];

/// The options that make the Engine do IPv6 NAT itself.
fn nat() -> &'static [&'static str] {
    release::in_use().native()
}

/// The figures of Docker's NAT in `status`.
pub(crate) fn native(lab: &Lab) -> Value {
    let output = daemon::command(lab, &["status", "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    status["native"].clone()
}

#[track_caller]
pub(crate) fn stands(lab: &Lab, state: &str) -> Value {
    eventually(SOON, &format!("Docker's NAT to be {state}"), || {
        let native = native(lab);
        same(native["state"].clone(), Value::from(state)).map(|()| native)
    })
}

/// The problems in `status`; checks that its exit code agrees.
fn troubles(lab: &Lab) -> Vec<String> {
    let output = daemon::command(lab, &["status", "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let troubles = status["troubles"].as_array().expect("a list");
    assert_eq!(output.status.success(), troubles.is_empty(), "{status}");
    let texts = troubles.iter().map(|text| text.as_str().expect("text"));
    texts.map(ToOwned::to_owned).collect()
}

/// Waits until `status` reports exactly this problem.
#[track_caller]
fn reports(lab: &Lab, problem: &str) {
    eventually(SOON, problem, || {
        same(troubles(lab), vec![problem.to_owned()])
    });
}

#[track_caller]
fn healthy(lab: &Lab) {
    eventually(SOON, "no trouble", || same(troubles(lab), Vec::new()));
}

/// Checks that the kernel has no rule of the daemon's.
#[track_caller]
pub(crate) fn nothing_of_ours(lab: &Lab) {
    eventually(SOON, "no rule of ours", || {
        same(rules::ours(lab.host()), Vec::new())
    });
    let all = rules::as_before(lab.host());
    assert_eq!(all, rules::theirs(lab.host()));
}

/// Lists all rules again and again during `work`: at no moment do both Docker and the daemon have a
/// rule for the port.
fn never_two(lab: &Lab, work: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looks = scope.spawn(|| {
            let (mut looks, mut seen) = (0, [0, 0]);
            while !done.load(Ordering::Relaxed) {
                // One listing shows one moment.
                let shown = lab.host().run(in_use().beside_docker());
                let dnats = shown
                    .lines()
                    .filter(|line| DNATS.iter().any(|dnat| line.contains(dnat)));
                let (ours, theirs): (Vec<_>, Vec<_>) =
                    dnats.partition(|line| line.contains("docker-nat66:"));
                seen[0] += ours.len();
                seen[1] += theirs.len();
                assert!(ours.is_empty() || theirs.is_empty(), "{ours:?} {theirs:?}");
                looks += 1;
            }
            // Proves that the check recognises both kinds of rules.
            assert!(seen.iter().all(|times| *times > 0), "{seen:?}");
            looks
        });
        let end = End(&done);
        work();
        drop(end);
        assert!(looks.join().expect("never two") > 10);
    });
}

/// Ends the listing even if the work fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn beside_dockers_own_nat_nothing_of_ours_is_in_the_kernel() {
    let lab = Lab::up("native_on");
    let engine = Engine::up(&lab, &[nat(), &["--userland-proxy=false"]].concat());
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let before = rules::as_before(lab.host());
    let mut daemon = Daemon::ready(&lab, &ARGS);
    daemon.says("standing by");
    nothing_of_ours(&lab);
    assert_eq!(rules::as_before(lab.host()), before);
    // Docker's own rule serves the port.
    lab.answers(Tcp, WEB, "web", CLIENT);
    let state = stands(&lab, "on");
    assert_eq!(state["served"], 1, "{state}");
    assert_eq!(state["stray"], Value::Array(Vec::new()), "{state}");
    let screen = daemon.command(&["status"]);
    assert!(screen.status.success(), "{screen:?}");
    let screen = String::from_utf8_lossy(&screen.stdout).into_owned();
    assert!(
        screen.contains(
            "native    Docker's own IPv6 NAT is on: standing by, 1 published port served"
        ),
        "{screen}"
    );

    // Containers that come and go change nothing, and a port that a label closes is reported.
    engine.run(
        "two",
        &["-p", "8081:80", "--label", "docker-nat66.enable=false"],
        &["tcp:80"],
    );
    let closed = format!("8081/tcp to [{}]:80", engine.address("two"));
    daemon.says("forwards what a label closes");
    assert_eq!(daemon.log().matches("what a label closes").count(), 1);
    let state = stands(&lab, "on");
    assert_eq!(state["closed"][0], closed);
    assert_eq!(state["stray"], Value::Array(Vec::new()), "{state}");
    engine.remove("two");
    engine.remove("web");
    eventually(SOON, "no port", || {
        same(native(&lab)["served"].clone(), Value::from(0))
    });
    nothing_of_ours(&lab);
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn force_sets_our_rules_beside_dockers_own() {
    let lab = Lab::up("native_force");
    let engine = Engine::up(&lab, nat());
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let before = rules::as_before(lab.host());
    let daemon = Daemon::ready(&lab, &[&ARGS[..], &["--native", "force"]].concat());
    assert_eq!(rules::published(lab.host()).len(), 1);
    assert_eq!(native(&lab), Value::Null);
    lab.answers(Tcp, WEB, "web", CLIENT);
    daemon.leaves();
    assert_eq!(rules::as_before(lab.host()), before);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn an_engine_that_turns_its_nat_on_and_off_again_is_followed() {
    let lab = Lab::up("native_change");
    let restart = ["--restart=always", "-p", "8080:80"];
    let mut engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.run("web", &restart, &["tcp:80"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    stands(&lab, "off");
    lab.answers(Tcp, WEB, "web", CLIENT);

    let mut theirs = BTreeMap::new();
    never_two(&lab, || {
        engine.restart_with(&[nat(), &["--userland-proxy=false"]].concat());
        stands(&lab, "on");
        nothing_of_ours(&lab);
        lab.answers(Tcp, WEB, "web", CLIENT);
        lab.host().sh(in_use().open_forward());
        theirs = rules::theirs(lab.host());

        // Docker's chains stay, and prove nothing.
        engine.restart_with(&["--userland-proxy=false"]);
        stands(&lab, "off");
        lab.answers(Tcp, WEB, "web", CLIENT);
        assert_eq!(rules::published(lab.host()).len(), 1);
    });
    daemon.leaves();
    nothing_of_ours(&lab);
    // Docker has removed its rules for the port; all other rules stay.
    let mut left = rules::theirs(lab.host());
    for (table, lines) in &mut left {
        lines.retain(|line| theirs[table].contains(line));
    }
    assert_eq!(left, rules::theirs(lab.host()));
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn chains_that_an_engine_left_behind_do_not_keep_a_restarted_daemon_from_its_rules() {
    let lab = Lab::up("native_left");
    let mut engine = Engine::up(&lab, &[nat(), &["--userland-proxy=false"]].concat());
    engine.restart_with(&["--userland-proxy=false"]);
    lab.host().sh(in_use().open_forward());
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let mut daemon = Daemon::ready(&lab, &ARGS);
    daemon.says("checking whether it uses them");
    lab.answers(Tcp, WEB, "web", CLIENT);
    let ours = rules::ours(lab.host());
    daemon.sigkill();
    // While the daemon observes, the forwards that Docker confirms stay.
    let daemon = Daemon::start(&lab, &ARGS);
    for _ in 0..5 {
        lab.answers(Tcp, WEB, "web", CLIENT);
        assert_eq!(rules::ours(lab.host()), ours);
    }
    stands(&lab, "off");
    assert_eq!(rules::ours(lab.host()), ours);
    daemon.leaves();
    nothing_of_ours(&lab);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn containers_that_outlive_an_engine_are_handed_over_both_ways() {
    let lab = Lab::up("native_live");
    let live = ["--live-restore", "--userland-proxy=false"];
    let mut engine = Engine::up(&lab, &live);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    lab.answers(Tcp, WEB, "web", CLIENT);
    engine.kill();
    lab.answers(Tcp, WEB, "web", CLIENT);
    engine.set_args(&[&live[..], nat()].concat());
    never_two(&lab, || {
        engine.start();
        stands(&lab, "on");
        nothing_of_ours(&lab);
        lab.answers(Tcp, WEB, "web", CLIENT);
    });
    lab.host().sh(in_use().open_forward());
    // An Engine without NAT leaves rules of its predecessor, and they still serve the port, so the
    // daemon stands by. They do not serve the next port, which is reported. Once they serve none,
    // the daemon takes over.
    engine.kill();
    engine.set_args(&live);
    engine.start();
    engine.run("two", &["-p", "8081:80"], &["tcp:80"]);
    let two = format!("8081/tcp to [{}]:80", engine.address("two"));
    reports(
        &lab,
        &format!("not-served: Docker's own IPv6 NAT is on, but has no rule for {two}"),
    );
    lab.answers(Tcp, WEB, "web", CLIENT);
    engine.remove("web");
    stands(&lab, "off");
    lab.answers(Tcp, "[2001:db8::1]:8081", "two", CLIENT);
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_rule_of_dockers_that_somebody_deletes_is_named_and_does_not_end_the_standby() {
    let lab = Lab::up("native_deleted");
    let args = [nat(), &["--userland-proxy=false"]].concat();
    let engine = Engine::up(&lab, &args);
    engine.run("web", &["-p", "8080:80", "-p", "8082:80"], &["tcp:80"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    assert_eq!(stands(&lab, "on")["served"], 2);
    let rules = lab.host().run(&["ip6tables", "-t", "nat", "-S", "DOCKER"]);
    let rule = rules.lines().find(|rule| rule.contains("--dport 8082 "));
    let rule = rule.expect("Docker's rule");
    let change = |how| {
        lab.host()
            .sh(&format!("ip6tables -t nat {}", rule.replacen("-A", how, 1)))
    };
    change("-D");
    // Another port leads to the same target, so the target alone does not identify the rule.
    let port = format!("8082/tcp to [{}]:80", engine.address("web"));
    reports(
        &lab,
        &format!("not-served: Docker's own IPv6 NAT is on, but has no rule for {port}"),
    );
    let state = stands(&lab, "on");
    assert_eq!(
        (&state["served"], &state["unserved"][0]),
        (&1.into(), &port.into())
    );
    nothing_of_ours(&lab);
    lab.answers(Tcp, WEB, "web", CLIENT);
    change("-A");
    healthy(&lab);
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn what_an_engine_leaves_behind_is_named_with_the_command_that_heals_it() {
    let lab = Lab::up("native_drop");
    let args = [nat(), &["--userland-proxy=false"]].concat();
    let mut engine = Engine::up(&lab, &args);
    engine.restart_with(&["--userland-proxy=false"]);
    lab.host().sh(in_use().open_forward());
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    stands(&lab, "off");
    // Engines before 28 leave no drops, and if our rules stand in the same tables, they come first
    // and accept.
    if release::in_use().major() >= 28 && in_use() == Backend::Nftables {
        let command = "ip6tables -t filter -D DOCKER ! -i docker0 -o docker0 -j DROP";
        reports(
            &lab,
            "left-behind: chain DOCKER of table ip6 filter drops what is forwarded; an Engine \
             left it when it came back without IPv6 NAT",
        );
        let screen = daemon.command(&["status"]).stdout;
        let screen = String::from_utf8_lossy(&screen).into_owned();
        assert!(
            screen.contains(&format!("\n      do           {command}\n")),
            "{screen}"
        );
        lab.host().sh(command);
    }
    healthy(&lab);
    lab.answers(Tcp, WEB, "web", CLIENT);
    daemon.leaves();
}

/// As moby 29 writes it with `--firewall-backend=nftables`, shortened.
const BRIDGES: &str = "table ip6 docker-bridges {
    chain nat-prerouting-and-output__ {
        type nat hook prerouting priority dstnat; policy accept;
        fib daddr type local counter jump nat-prerouting-and-output
    }
    chain nat-prerouting-and-output {
        iifname != \"docker0\" tcp dport 8080 counter dnat to [TARGET]:80 comment \"DNAT\"
    }
}";

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn the_table_of_docker_bridges_is_heeded_as_it_comes_and_goes() {
    let lab = Lab::up("native_table");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let before = rules::as_before(lab.host());
    let daemon = Daemon::ready(&lab, &ARGS);
    let target = engine.address("web").to_string();
    let table = BRIDGES.replace("TARGET", &target);
    lab.host().sh(&format!("nft -f - <<'EOF'\n{table}\nEOF"));
    let beside = rules::theirs(lab.host());
    let state = stands(&lab, "on");
    assert_eq!(state["served"], 1, "{state}");
    nothing_of_ours(&lab);
    assert_eq!(rules::as_before(lab.host()), beside);
    lab.answers(Tcp, &format!("[{HOST}]:8080"), "web", CLIENT);
    lab.host()
        .run(&["nft", "delete", "table", "ip6", "docker-bridges"]);
    stands(&lab, "off");
    eventually(SOON, "our rule", || {
        same(rules::published(lab.host()).len(), 1)
    });
    lab.answers(Tcp, WEB, "web", CLIENT);
    daemon.leaves();
    assert_eq!(rules::as_before(lab.host()), before);
}

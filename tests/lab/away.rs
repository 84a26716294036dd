//! The Engine is down, goes away, and comes back with other addresses.

use std::time::Instant;

use rustix::process::Signal;

use crate::support::lab::daemon::Daemon;
use crate::support::lab::engine::Engine;
use crate::support::lab::rules::{self, Published};
use crate::support::lab::talk::Proto::Tcp;
use crate::support::lab::{CLIENT, HOST, Lab};
use crate::support::score::Score;
use crate::support::wait::{SOON, eventually, same};

const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", "fdfd:5898:4917:1::/64"];

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_daemon_that_starts_before_the_engine_waits_and_says_so_once() {
    let lab = Lab::up("away_first");
    let mut engine = Engine::down(&lab, &[]);
    let mut daemon = Daemon::start(&lab, &ARGS);
    daemon.says("NAT66 set postrouting: ");
    daemon.says("/var/run/docker.sock");
    engine.start();
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    lab.answers(Tcp, &format!("[{HOST}]:8080"), "web", CLIENT);
    assert_eq!(warnings(&daemon), 1, "{}", daemon.log());
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_daemon_can_leave_while_the_engine_is_down() {
    let lab = Lab::up("away_leave");
    let before = rules::as_before(lab.host());
    let mut daemon = Daemon::start(&lab, &ARGS);
    daemon.says("NAT66 set postrouting: ");
    daemon.leaves();
    assert_eq!(rules::as_before(lab.host()), before);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_restarted_engine_with_other_addresses_is_followed() {
    let lab = Lab::up("away_restart");
    let mut engine = Engine::up(&lab, &[]);
    let daemon = Daemon::ready(&lab, &ARGS);
    engine.run("first", &["-p", "8081:80", "--restart=always"], &["tcp:80"]);
    engine.run(
        "second",
        &["-p", "8082:80", "--restart=always"],
        &["tcp:80"],
    );
    lab.answers(Tcp, &format!("[{HOST}]:8081"), "first", CLIENT);
    lab.answers(Tcp, &format!("[{HOST}]:8082"), "second", CLIENT);
    engine.stop();
    engine.start();
    engine.docker(&["rm", "-f", "first"]);
    engine.run("third", &["-p", "8083:80"], &["tcp:80"]);
    lab.answers(Tcp, &format!("[{HOST}]:8082"), "second", CLIENT);
    lab.answers(Tcp, &format!("[{HOST}]:8083"), "third", CLIENT);
    let ports: Vec<String> = ["8082", "8083"]
        .map(|port| format!("eth0 tcp * {port}"))
        .into();
    eventually(SOON, "exactly the running containers", || {
        let seen = rules::published(lab.host()).into_iter();
        same(seen.map(|rule| rule.from).collect(), ports.clone())
    });
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn forwards_stay_while_a_killed_engine_is_away_and_are_compared_when_it_returns() {
    let lab = Lab::up("away_killed");
    let mut engine = Engine::up(&lab, &["--live-restore"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    lab.answers(Tcp, &format!("[{HOST}]:8080"), "web", CLIENT);
    let mut line = lab.connect(&format!("[{HOST}]:8080"));
    engine.kill();
    assert_eq!(line.echo("no engine").as_deref(), Ok("no engine"));
    assert_eq!(rules::published(lab.host()).len(), 1);
    engine.start();
    engine.run("new", &["-p", "8081:80"], &["tcp:80"]);
    lab.answers(Tcp, &format!("[{HOST}]:8081"), "new", CLIENT);
    assert_eq!(line.echo("new engine").as_deref(), Ok("new engine"));
    engine.remove("web");
    eventually(SOON, "the rule to go", || {
        same(rules::published(lab.host()).len(), 1)
    });
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_killed_engine_that_gives_its_addresses_to_others_is_followed() {
    let lab = Lab::up("away_reassigned");
    let mut engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.run("once", &["-p", "8081:80"], &["tcp:80"]);
    let always = ["-p", "8082:80", "--restart=always"];
    engine.run("always", &always, &["tcp:80"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    lab.answers(Tcp, &format!("[{HOST}]:8081"), "once", CLIENT);
    let mut score = Score::new("Engine killed and restarted, addresses given to others");
    let address = engine.address("once");
    engine.kill();
    assert_eq!(rules::published(lab.host()).len(), 2);
    // The Engine ends the containers, and starts those with a restart policy again.
    engine.start();
    let back = Instant::now();
    eventually(SOON, "the address to belong to the other one", || {
        same(engine.address("always"), address)
    });
    let expected = Published::new("eth0 tcp * 8082", format!("[{address}]:80"));
    eventually(SOON, "exactly the running container", || {
        same(rules::published(lab.host()), vec![expected.clone()])
    });
    score.recovered(back.elapsed());
    lab.answers(Tcp, &format!("[{HOST}]:8082"), "always", CLIENT);
    lab.is_closed(Tcp, &format!("[{HOST}]:8081"));
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_stopped_engine_is_noticed_and_its_forwards_stay() {
    let lab = Lab::up("away_stopped");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    engine.run("gone", &["-p", "8081:80"], &["tcp:80"]);
    let gone = engine.docker(&["inspect", "-f", "{{.State.Pid}}", "gone"]);
    let mut daemon = Daemon::ready(&lab, &ARGS);
    lab.answers(Tcp, &format!("[{HOST}]:8080"), "web", CLIENT);
    let mut score = Score::new("Engine stopped by SIGSTOP");
    engine.signal(Signal::STOP);
    lab.host().sh(&format!("kill -9 {gone}"));
    daemon.says("no answer to /_ping");
    lab.answers(Tcp, &format!("[{HOST}]:8080"), "web", CLIENT);
    assert_eq!(rules::published(lab.host()).len(), 2);
    engine.signal(Signal::CONT);
    let back = Instant::now();
    eventually(SOON, "the one that runs", || {
        same(rules::published(lab.host()).len(), 1)
    });
    score.recovered(back.elapsed());
    lab.answers(Tcp, &format!("[{HOST}]:8080"), "web", CLIENT);
    daemon.leaves();
}

/// Warnings that name the Engine's socket.
fn warnings(daemon: &Daemon<'_>) -> usize {
    let log = daemon.log();
    let warns = |line: &&str| line.contains("WARN") && line.contains("docker.sock");
    log.lines().filter(warns).count()
}

//! `kill -9` during connections and batches, and `cleanup` afterwards.

use std::time::Duration;

use rustix::process::Signal;

use crate::journal;
use crate::support::lab::daemon::{self, Daemon, STATE_DIR};
use crate::support::lab::engine::Engine;
use crate::support::lab::rules::{self, Foreign, Published};
use crate::support::lab::talk::Flow;
use crate::support::lab::talk::Proto::{Tcp, Udp};
use crate::support::lab::{CLIENT, HOST, Lab};
use crate::support::process::kill;
use crate::support::wait::{SOON, eventually, let_pass, same};

const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", "fdfd:5898:4917:1::/64"];
#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_connection_survives_kill_and_restart_of_the_daemon() {
    let lab = Lab::up("crash_connection");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    lab.answers(Tcp, &format!("[{HOST}]:8080"), "web", CLIENT);
    let mut line = lab.connect(&format!("[{HOST}]:8080"));
    daemon.sigkill();
    assert_eq!(line.echo("orphaned").as_deref(), Ok("orphaned"));
    let daemon = Daemon::ready(&lab, &ARGS);
    assert_eq!(line.echo("adopted").as_deref(), Ok("adopted"));
    daemon.leaves();
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn kills_at_any_moment_of_a_busy_hour_leave_foreign_rules_and_no_doubles() {
    let lab = Lab::up("crash_busy");
    let engine = Engine::up(&lab, &[]);
    let foreign = Foreign::plant(lab.host());
    for round in 0..12 {
        let daemon = Daemon::start(&lab, &ARGS);
        // The kill falls into start-up, the first batch, and the work on events.
        let busy = format!("web{round}");
        if round % 3 == 0 {
            engine.run(&busy, &["-p", "8000-8009:80-89"], &["tcp:80"]);
        } else if round % 3 == 1 {
            let_pass(Duration::from_millis(round * 3));
        } else {
            engine.remove(&format!("web{}", round - 2));
        }
        daemon.sigkill();
    }
    engine.run("last", &["-p", "8080:80"], &["tcp:80"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    let last = Published::new(
        "eth0 tcp * 8080",
        format!("[{}]:80", engine.address("last")),
    );
    eventually(SOON, "exactly the last", || {
        same(rules::published(lab.host()), vec![last.clone()])
    });
    journal::agrees(&lab);
    daemon.leaves();
    assert_eq!(Foreign::seen(lab.host()), foreign);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn a_daemon_asked_to_leave_while_it_starts_takes_out_what_a_killed_one_left() {
    let lab = Lab::up("crash_early");
    let engine = Engine::up(&lab, &[]);
    let before = rules::as_before(lab.host());
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    Daemon::ready(&lab, &ARGS).sigkill();
    // Holds the lock as a tool of the killed daemon would; the start waits for it.
    let tool_lock = format!("{STATE_DIR}/tool.lock");
    let args = ["--no-fork", &tool_lock, "sleep", "60"];
    let mut tool = lab.host().spawn("flock", &args, &lab.log("tool"));
    eventually(SOON, "the tool to hold its lock", || {
        let free = lab.host().output(&["flock", "-n", &tool_lock, "true"]);
        (!free.status.success()).then_some(()).ok_or("not yet")
    });
    let daemon = Daemon::start(&lab, &ARGS);
    let pid = daemon.pid();
    let locked = format!("grep -q '\"pid\":{pid},' {STATE_DIR}/lock");
    eventually(SOON, "the daemon to hold its lock", || {
        let out = lab.host().output(&["sh", "-c", &locked]);
        out.status.success().then_some(()).ok_or("not yet")
    });
    // The daemon does not report that it waits for the tool; it begins to wait within this time.
    let_pass(Duration::from_millis(300));
    daemon.signal(Signal::TERM);
    kill(&mut tool);
    let status = daemon.ended();
    assert!(status.success(), "{status}");
    assert_eq!(rules::as_before(lab.host()), before);
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn cleanup_removes_what_a_killed_daemon_left_and_nothing_else() {
    let lab = Lab::up("crash_cleanup");
    let engine = Engine::up(&lab, &[]);
    let foreign = Foreign::plant(lab.host());
    engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
    Daemon::ready(&lab, &ARGS).sigkill();
    assert_ne!(Foreign::seen(lab.host()), foreign);
    let output = daemon::command(&lab, &["cleanup"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(Foreign::seen(lab.host()), foreign);
    let again = daemon::command(&lab, &["cleanup"]);
    assert!(again.status.success(), "{again:?}");
}

/// A port that led to a dead container must never lead to the next container with its address: from
/// the moment that the daemon is ready or, if Docker does not answer, that the grace is over.
#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn who_takes_an_address_while_the_daemon_is_dead_is_not_reached_through_the_dead_one_s_port() {
    for (name, engine_is_frozen) in [("crash_heir", false), ("crash_heir_silent", true)] {
        println!("{name}");
        let lab = Lab::up(name);
        let engine = Engine::up(&lab, &["--userland-proxy=false"]);
        let before = rules::as_before(lab.host());
        let serve = ["tcp:80", "udp:53"];
        engine.run("old", &["-p", "8080:80", "-p", "8053:53/udp"], &serve);
        let (tcp, udp) = (format!("[{HOST}]:8080"), format!("[{HOST}]:8053"));
        let daemon = Daemon::ready(&lab, &ARGS);
        lab.answers(Tcp, &tcp, "old", CLIENT);
        lab.answers(Udp, &udp, "old", CLIENT);
        let flow = Flow::open(lab.client(), &udp);
        assert_eq!(flow.ask().map(|a| a.name).as_deref(), Ok("old"));
        daemon.sigkill();
        let addr = engine.address("old");
        engine.remove("old");
        engine.run("heir", &["-p", "8081:80"], &serve);
        assert_eq!(engine.address("heir"), addr, "the address was reused");
        // No daemon runs that could prevent it.
        lab.answers(Tcp, &tcp, "heir", CLIENT);

        let args = [&ARGS[..], &["--stale-grace", "2s"]].concat();
        let daemon = if engine_is_frozen {
            engine.freeze();
            let mut daemon = Daemon::start(&lab, &args);
            daemon.says("Docker has not confirmed the forwards of the earlier run");
            eventually(SOON, "the forwards to go", || {
                same(rules::published(lab.host()), Vec::new())
            });
            daemon
        } else {
            Daemon::ready(&lab, &args)
        };
        for _ in 0..5 {
            let answers = (lab.ask(Tcp, &tcp), lab.ask(Udp, &udp), flow.ask());
            assert!(matches!(answers, (Err(_), Err(_), Err(_))), "{answers:?}");
        }
        if engine_is_frozen {
            engine.thaw();
        }
        lab.answers(Tcp, &format!("[{HOST}]:8081"), "heir", CLIENT);
        assert!(lab.ask(Tcp, &tcp).is_err() && flow.ask().is_err());
        daemon.leaves();
        assert_eq!(rules::as_before(lab.host()), before);
    }
}

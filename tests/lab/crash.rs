//! `kill -9` in the middle of things: connections, batches, and `cleanup` afterwards.

use std::time::Duration;

use crate::daemon::{self, Daemon};
use crate::engine::Engine;
use crate::journal;
use crate::lab::{CLIENT, HOST, Lab};
use crate::rules::{self, Foreign, Published};
use crate::talk::Proto::Tcp;
use crate::wait::{SOON, eventually, let_pass, same};

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
        // The moment moves through start-up, the first batch and the work on events.
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

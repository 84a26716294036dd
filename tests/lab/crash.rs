//! `kill -9`, and what the next start makes of what changed in between.

use std::net::Ipv6Addr;

use rustix::process::Signal;

use crate::daemon::{self, Daemon, STATE_DIR};
use crate::engine::Engine;
use crate::lab::{CLIENT, HOST, Lab, kill};
use crate::rules::{self, Foreign};
use crate::talk::Proto::Tcp;
use crate::wait::{SOON, eventually, same};

const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", "fdfd:5898:4917:1::/64"];
const ON_ETH1: [&str; 4] = ["--dev", "eth1", "--prefix", "fdfd:5898:4917:1::/64"];

/// What happens between the daemon's death and its next start.
struct Row {
    name: &'static str,
    meanwhile: fn(&Lab, &Engine<'_>),
    args: [&'static str; 4],
    /// `DEV HOST-PORT CONTAINER` for each forward afterwards; `web` served on 8080 before.
    then: &'static [&'static str],
}

const ROWS: [Row; 9] = [
    Row {
        name: "nothing",
        meanwhile: |_, _| {},
        args: ARGS,
        then: &["eth0 8080 web"],
    },
    Row {
        name: "the container has gone",
        meanwhile: |_, engine| engine.remove("web"),
        args: ARGS,
        then: &[],
    },
    Row {
        name: "another container has come",
        meanwhile: |_, engine| {
            engine.run("new", &["-p", "8081:80"], &["tcp:80"]);
        },
        args: ARGS,
        then: &["eth0 8080 web", "eth0 8081 new"],
    },
    Row {
        name: "the container has another address",
        meanwhile: |_, engine| {
            let before = engine.address("web");
            engine.docker(&["stop", "web"]);
            engine.run("squatter", &[], &["tcp:80"]);
            assert_eq!(engine.address("squatter"), before, "the address was reused");
            engine.docker(&["start", "web"]);
        },
        args: ARGS,
        then: &["eth0 8080 web"],
    },
    Row {
        name: "another container has the port and the address",
        meanwhile: |_, engine| {
            engine.remove("web");
            engine.run("heir", &["-p", "8080:80"], &["tcp:80"]);
        },
        args: ARGS,
        then: &["eth0 8080 heir"],
    },
    Row {
        name: "another container has the port, on another address",
        meanwhile: |_, engine| {
            engine.remove("web");
            engine.run("squatter", &[], &["tcp:80"]);
            engine.run("heir", &["-p", "8080:80"], &["tcp:80"]);
        },
        args: ARGS,
        then: &["eth0 8080 heir"],
    },
    Row {
        name: "the daemon's interface is another",
        meanwhile: |_, _| {},
        args: ON_ETH1,
        then: &["eth1 8080 web"],
    },
    Row {
        name: "somebody flushed the tables",
        meanwhile: |lab, _| {
            lab.host()
                .run(&["ip6tables", "-t", "nat", "-F", "PREROUTING"]);
        },
        args: ARGS,
        then: &["eth0 8080 web"],
    },
    Row {
        name: "somebody restored the tables twice",
        meanwhile: |lab, _| {
            lab.host()
                .sh("ip6tables-save -t nat | ip6tables-restore --noflush");
        },
        args: ARGS,
        then: &["eth0 8080 web"],
    },
];

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn after_kill_the_next_start_has_exactly_the_desired_rules() {
    let lab = Lab::up("crash");
    let engine = Engine::up(&lab, &[]);
    let before = rules::as_before(lab.host());
    for row in ROWS {
        println!("{}", row.name);
        engine.run("web", &["-p", "8080:80"], &["tcp:80"]);
        let daemon = Daemon::ready(&lab, &ARGS);
        assert_eq!(published(&lab), forwards(&engine, &["eth0 8080 web"]));
        daemon.sigkill();
        (row.meanwhile)(&lab, &engine);

        let daemon = Daemon::ready(&lab, &row.args);
        let expected = forwards(&engine, row.then);
        eventually(SOON, row.name, || same(published(&lab), expected.clone()));
        let nat = lab
            .host()
            .run(&["ip6tables", "-t", "nat", "-S", "POSTROUTING"]);
        let dev = row.args[1];
        assert_eq!(nat.matches("-j MASQUERADE").count(), 1, "{nat}");
        assert!(nat.contains(&format!("-o {dev} ")), "{nat}");
        for text in row.then.iter().filter(|text| text.starts_with("eth0")) {
            let [_, port, name] = words(text);
            lab.answers(Tcp, &format!("[{HOST}]:{port}"), name, CLIENT);
        }
        daemon.leaves();
        assert_eq!(rules::as_before(lab.host()), before, "{}", row.name);
        for name in engine
            .docker(&["ps", "-a", "--format", "{{.Names}}"])
            .lines()
        {
            engine.remove(name);
        }
    }
}

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
            std::thread::sleep(std::time::Duration::from_millis(round * 3));
        } else {
            engine.remove(&format!("web{}", round - 2));
        }
        daemon.sigkill();
    }
    engine.run("last", &["-p", "8080:80"], &["tcp:80"]);
    let daemon = Daemon::ready(&lab, &ARGS);
    let expected = forwards(&engine, &["eth0 8080 last"]);
    eventually(SOON, "exactly the last", || {
        same(published(&lab), expected.clone())
    });
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
    // As a tool of the killed one would: the start waits for it.
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
    // Nothing tells when it has begun to wait for the tool; it does within this.
    std::thread::sleep(std::time::Duration::from_millis(300));
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

fn words(text: &str) -> [&str; 3] {
    let words: Vec<&str> = text.split(' ').collect();
    words.try_into().expect("three words")
}

/// `DEV HOST-PORT TARGET` of every DNAT rule of the daemon's.
fn published(lab: &Lab) -> Vec<(String, String)> {
    let seen = rules::published(lab.host()).into_iter();
    seen.map(|rule| (rule.from, rule.to)).collect()
}

fn forwards(engine: &Engine<'_>, texts: &[&str]) -> Vec<(String, String)> {
    let mut expected: Vec<_> = texts
        .iter()
        .map(|text| {
            let [dev, port, name] = words(text);
            let addr: Ipv6Addr = engine.address(name);
            (format!("{dev} tcp * {port}"), format!("[{addr}]:80"))
        })
        .collect();
    expected.sort();
    expected
}

//! A storm at the scale of a real Engine: many containers come and go at once, through every
//! command of Docker's. Afterwards the rules are those that Docker's state requires, and that a
//! fresh daemon would build.
//!
//! `tests/run storm --nocapture` shows the figures.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::Instant;

use serde_json::Value;

use crate::journal;
use crate::support::lab::daemon::{Daemon, STATE_DIR};
use crate::support::lab::engine::Engine;
use crate::support::lab::rules::{self, Published};
use crate::support::lab::talk::Proto::{Tcp, Udp};
use crate::support::lab::{CLIENT, HOST, Lab, PREFIX};
use crate::support::process::{kib, kill};
use crate::support::wait::{SOON, eventually, same};

/// The second network's subnet. The network's name comes before the default one's, so the IPv6
/// gateway is on it.
const ALPHA: &str = "fdfd:5898:4917:2::/64";

const ARGS: [&str; 6] = ["--dev", "eth0", "--prefix", PREFIX, "--prefix", ALPHA];

/// Containers of the crowd: as many as two cores start in about ten seconds.
const CROWD: u16 = 24;

/// How many of the crowd start at once: more would only wait for the Engine's locks.
const LANES: u16 = 5;

/// Starts of the flapping containers, one right after the death of the other.
const FLAPS: u16 = 6;

/// The host port of a container of the crowd, tcp and udp.
fn port(n: u16) -> u16 {
    10_000 + n
}

/// Runs container `n` of the crowd, and then does to it what its number selects.
fn live(engine: &Engine<'_>, n: u16) {
    let name = format!("c{n}");
    let (tcp, udp) = (format!("{}:80", port(n)), format!("{}:53/udp", port(n)));
    engine.run(&name, &["-p", &tcp, "-p", &udp], &["tcp:80", "udp:53"]);
    match n % 6 {
        0 => {
            engine.docker(&["kill", &name]);
        }
        1 => engine.remove(&name),
        2 => {
            engine.docker(&["network", "connect", "alpha", &name]);
        }
        3 => {
            engine.docker(&["network", "connect", "alpha", &name]);
            engine.docker(&["network", "disconnect", "bridge", &name]);
            engine.docker(&["network", "connect", "bridge", &name]);
            engine.docker(&["network", "disconnect", "alpha", &name]);
        }
        4 => {
            engine.docker(&["restart", &name]);
        }
        _ => {}
    }
}

/// Whether container `n` of the crowd outlives the storm.
fn outlives(n: u16) -> bool {
    n % 6 > 1
}

/// Starts and kills one container again and again; it ends as `alive` says.
fn flap(engine: &Engine<'_>, name: &str, port: u16, alive: bool) {
    let publish = format!("{port}:80");
    engine.docker(&["create", "--name", name, "-p", &publish, "lab", "tcp:80"]);
    for _ in 0..FLAPS {
        engine.docker(&["start", name]);
        engine.docker(&["kill", name]);
    }
    if alive {
        engine.docker(&["start", name]);
    }
}

/// Containers that end at once and remove themselves.
fn flash(engine: &Engine<'_>) {
    let brief = ["--entrypoint=/bin/busybox", "lab", "true"];
    for n in 0..FLAPS {
        let publish = format!("{}:80", 11_000 + n);
        engine.docker(&[&["run", "--rm", "-p", &publish], &brief[..]].concat());
    }
}

/// The forwards that the Engine's list of running containers requires.
fn by_the_engine(engine: &Engine<'_>) -> Vec<Published> {
    let running = engine.docker(&["ps", "-q", "--no-trunc"]);
    let ids: Vec<&str> = running.lines().collect();
    let shown = engine.docker(&[&["inspect"], &ids[..]].concat());
    let containers: Vec<Value> = serde_json::from_str(&shown).expect("a list of containers");
    let mut rules = Vec::new();
    for container in &containers {
        let settings = &container["NetworkSettings"];
        let networks = settings["Networks"].as_object().expect("networks");
        let addresses: BTreeMap<&String, &str> = networks
            .iter()
            .map(|(name, n)| (name, n["GlobalIPv6Address"].as_str().unwrap_or_default()))
            .collect();
        let (_, addr) = addresses.first_key_value().expect("a network");
        for (inside, hosts) in settings["Ports"].as_object().expect("ports") {
            let (inside, proto) = inside.split_once('/').expect("PORT/PROTO");
            let host = hosts[0]["HostPort"].as_str().expect("it is published");
            let from = format!("eth0 {proto} * {host}");
            rules.push(Published::new(from, format!("[{addr}]:{inside}")));
        }
    }
    rules.sort();
    rules
}

/// The daemon's rules, sorted.
fn sorted(lab: &Lab) -> Vec<String> {
    let mut ours = rules::ours(lab.host());
    ours.sort();
    ours
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn after_a_storm_the_kernel_is_what_a_fresh_daemon_would_build() {
    let lab = Lab::up("storm");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    engine.network("alpha", ALPHA, &[]);
    let before = rules::as_before(lab.host());
    let args = [&ARGS[..], &["--log-level", "debug"]].concat();
    let daemon = Daemon::ready(&lab, &args);
    let idle = kib(daemon.id(), "VmRSS");
    let events_log = lab.log("events");
    let mut events = lab.host().spawn("docker", &["events"], &events_log);

    let begun = Instant::now();
    thread::scope(|scope| {
        for lane in 0..LANES {
            let engine = &engine;
            let mine = (1..=CROWD).filter(move |n| n % LANES == lane);
            scope.spawn(move || mine.for_each(|n| live(engine, n)));
        }
        scope.spawn(|| flap(&engine, "phoenix", 12_000, true));
        scope.spawn(|| flap(&engine, "moth", 12_001, false));
        scope.spawn(|| flash(&engine));
    });
    let (stormed, ended) = (begun.elapsed(), Instant::now());
    let expected = by_the_engine(&engine);
    let alive = (1..=CROWD).filter(|n| outlives(*n)).count();
    assert_eq!(expected.len(), alive * 2 + 1, "{expected:#?}");
    eventually(SOON, "what the Engine says", || {
        same(rules::published(lab.host()), expected.clone())
    });
    let settled = ended.elapsed();

    // The rules stay so: this container's rule comes and goes after every event of the storm.
    engine.settles("what the Engine says, and no more", &expected);
    journal::agrees(&lab);
    let rules = sorted(&lab);
    for n in (1..=CROWD).filter(|n| outlives(*n)) {
        let to = format!("[{HOST}]:{}", port(n));
        lab.answers(Tcp, &to, &format!("c{n}"), CLIENT);
        lab.answers(Udp, &to, &format!("c{n}"), CLIENT);
    }
    for port in [port(6), port(7), 11_000, 12_001] {
        lab.is_closed(Tcp, &format!("[{HOST}]:{port}"));
    }

    let log = daemon.log();
    let lines = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    let after = kib(daemon.id(), "VmRSS");
    kill(&mut events);
    let events = fs::read_to_string(&events_log)
        .expect("read the events")
        .lines()
        .count();
    eprintln!(
        "{} containers and {} starts more in {stormed:.1?}: {events} events, {} snapshots, \
         {} rounds, {} rules added and {} removed, settled after {settled:.1?}, {} of ours, \
         RSS {idle} KiB before and {after} KiB after",
        CROWD + 2 + FLAPS,
        2 * (FLAPS - 1) + 1 + CROWD / 6,
        lines("snapshot, "),
        lines("round done"),
        lines("NAT66 add portfwd: "),
        lines("NAT66 del portfwd: "),
        rules.len(),
    );

    daemon.leaves();
    assert_eq!(rules::as_before(lab.host()), before);
    lab.host().sh(&format!("rm -r {STATE_DIR}"));
    // A death in the last seconds is replayed to a fresh daemon, which asks about its container once
    // more, and may be ready before the answer.
    eventually(SOON, "no event that would be replayed", || {
        let replayed = "docker events --since 3s --until \"$(date +%s.%N)\"";
        same(lab.host().sh(replayed), String::new())
    });
    let fresh = Daemon::ready(&lab, &ARGS);
    assert_eq!(sorted(&lab), rules);
    fresh.leaves();
    assert_eq!(rules::as_before(lab.host()), before);
}

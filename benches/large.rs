//! What very many published ports cost: to put in, to hold, to find again after `kill -9`, and to
//! take out. Needs root, as the lab does; the Engine is the fake one.
//!
//! `cargo bench --bench large -- PORTS BACKEND [--hairpin on|off]`; without arguments 10,000, 15,000
//! and 60,000 ports with both backends. Containers have 15,000 ports each at the most.
//!
//! `cargo bench --bench large -- PORTS BACKEND --times N`: what is left in memory and on the disk when
//! a container with so many ports has come and gone so often.

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests have more than is needed here")]
mod support;

use std::time::{Duration, Instant};

use support::fake_engine::{FakeContainer, FakeEngine};
use support::lab::daemon::{self, Daemon, STATE_DIR};
use support::lab::{Lab, rules};
use support::process::{kib, lives};
use support::wait::{eventually, let_pass};

const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", "fdfd:5898:4917:1::/64"];

/// Ports of one container.
const PORTS_EACH: u32 = 15_000;

/// How long any step may take before it counts as never.
const NEVER: Duration = Duration::from_secs(900);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let args: Vec<&str> = args.into_iter().filter(|arg| *arg != "--bench").collect();
    match args[..] {
        [] => {
            for ports in [10_000, 15_000, 60_000] {
                for backend in ["nftables", "ip6tables"] {
                    measure(ports, backend, "on");
                }
            }
        }
        [ports, backend] => measure(ports.parse().expect("a number"), backend, "on"),
        [ports, backend, "--hairpin", hairpin] => {
            measure(ports.parse().expect("a number"), backend, hairpin);
        }
        [ports, backend, "--times", times] => churn(
            ports.parse().expect("a number"),
            backend,
            times.parse().expect("a number"),
        ),
        _ => panic!("expected: PORTS BACKEND [--hairpin on|off | --times N]"),
    }
}

fn churn(ports: u32, backend: &str, times: u32) {
    println!("{ports} ports, {backend}, {times} times");
    let lab = Lab::up("large");
    let engine = FakeEngine::start();
    let url = format!("unix://{}", engine.socket().display());
    let own = ["--docker-host", &url, "--backend", backend];
    let quiet = ["--log-level", "warning"];
    let daemon = Daemon::start(&lab, &[&ARGS[..], &own, &quiet].concat());
    settles(&lab, 0);
    show("nothing published", &lab, &daemon, None);
    for time in 1..=times {
        let began = Instant::now();
        engine.run(container("churned", 1..=ports));
        settles(&lab, ports);
        for id in engine.ids() {
            engine.die(&id);
        }
        settles(&lab, 0);
        for id in engine.ids() {
            engine.remove(&id);
        }
        show(
            &format!("time {time}"),
            &lab,
            &daemon,
            Some(began.elapsed()),
        );
    }
}

/// A container that publishes these ports.
fn container(name: &str, ports: impl Iterator<Item = u32>) -> FakeContainer {
    let port = |number: u32| u16::try_from(number).expect("a port");
    ports.fold(FakeContainer::new(2, name), |container, number| {
        container.publish(port(number), port(number))
    })
}

fn measure(ports: u32, backend: &str, hairpin: &str) {
    println!("{ports} ports, {backend}, --hairpin {hairpin}");
    let lab = Lab::up("large");
    let engine = FakeEngine::start();
    let url = format!("unix://{}", engine.socket().display());
    let own = [
        "--docker-host",
        &url,
        "--backend",
        backend,
        "--hairpin",
        hairpin,
    ];
    let quiet = ["--log-level", "warning"];
    let args = [&ARGS[..], &own, &quiet].concat();
    let daemon = Daemon::start(&lab, &args);
    settles(&lab, 0);
    show("nothing published", &lab, &daemon, None);
    let containers = ports.div_ceil(PORTS_EACH);
    let began = Instant::now();
    for number in 0..containers {
        let mut container = FakeContainer::new(
            u16::try_from(number + 2).expect("few"),
            &format!("c{number}"),
        );
        let first = number * PORTS_EACH;
        for port in first..ports.min(first + PORTS_EACH) {
            let port = u16::try_from(port + 1).expect("a port");
            container = container.publish(port, port);
        }
        engine.run(container);
    }
    settles(&lab, ports);
    show("in", &lab, &daemon, Some(began.elapsed()));
    let began = Instant::now();
    let output = daemon.command(&["dump"]);
    let lines = output.stdout.iter().filter(|b| **b == b'\n').count();
    println!(
        "  dump of {lines} lines: {:.1} s, {}",
        began.elapsed().as_secs_f64(),
        output.status
    );
    daemon.sigkill();
    let began = Instant::now();
    let daemon = Daemon::start(&lab, &args);
    settles(&lab, ports);
    show("killed and restarted", &lab, &daemon, Some(began.elapsed()));
    let began = Instant::now();
    for id in engine.ids() {
        engine.die(&id);
    }
    settles(&lab, 0);
    let took = began.elapsed();
    eventually(NEVER, "a small journal", || {
        let size = journal_size(&lab);
        (size < 5e6).then_some(()).ok_or(size)
    });
    println!("  forgotten after {:.1} s", began.elapsed().as_secs_f64());
    show("out, by die", &lab, &daemon, Some(took));
    daemon.sigkill();

    // Once more, and out by SIGTERM.
    let began = Instant::now();
    for id in engine.ids() {
        engine.remove(&id);
    }
    let mut container = FakeContainer::new(9, "last");
    for port in 1..=ports.min(PORTS_EACH) {
        let port = u16::try_from(port).expect("a port");
        container = container.publish(port, port);
    }
    engine.put(container);
    let daemon = Daemon::start(&lab, &args);
    settles(&lab, ports.min(PORTS_EACH));
    show("one container in", &lab, &daemon, Some(began.elapsed()));
    let began = Instant::now();
    daemon.signal(rustix::process::Signal::TERM);
    let pid = daemon.id();
    eventually(NEVER, "the daemon's end", || {
        let ended = !lives(pid);
        ended.then_some(()).ok_or("it runs")
    });
    let status = daemon.ended();
    println!(
        "  out, by SIGTERM: {:.1} s, {status}",
        began.elapsed().as_secs_f64()
    );
    let left = rules::ours(lab.host()).len();
    println!("  rules left: {left}");
}

/// Waits until the daemon says that so many ports are open, and nothing is wrong but that the fake
/// Engine has no bridge here.
fn settles(lab: &Lab, ports: u32) {
    eventually(NEVER, &format!("{ports} ports"), || {
        let output = daemon::command(lab, &["status", "--json"]);
        let status: serde_json::Value =
            serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
        let problems = status["problems"].as_array().cloned().unwrap_or_default();
        let is_well = problems
            .iter()
            .all(|problem| problem["id"] == "wrong-netns");
        let is_settled = status["forwards"] == ports && is_well && status["state"] != "starting";
        is_settled.then_some(()).ok_or_else(|| status.to_string())
    });
}

fn show(what: &str, lab: &Lab, daemon: &Daemon<'_>, took: Option<Duration>) {
    // Free memory goes back within ten seconds of a large change.
    let_pass(Duration::from_secs(12));
    let kib = kib(daemon.id(), "RssAnon") as f64;
    let size = journal_size(lab);
    let took = took.map_or(String::new(), |took| {
        format!("{:.1} s, ", took.as_secs_f64())
    });
    println!(
        "  {what}: {took}RssAnon {:.1} MB, journal {:.2} MB",
        kib * 1024.0 / 1e6,
        size / 1e6
    );
}

/// In bytes.
fn journal_size(lab: &Lab) -> f64 {
    let size = format!("du -sb {STATE_DIR}/journal | cut -f1");
    lab.host().sh(&size).trim().parse().expect("a number")
}

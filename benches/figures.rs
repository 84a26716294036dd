//! What an operator feels: how soon a published port is open, how soon a daemon has caught up,
//! and what it takes. Needs root and Docker, as the lab does: `cargo bench --bench figures`.
//!
//! From start event to rule: a real Engine's `timeNano` of the `start` event against the time in
//! the daemon's log (both of the same clock) of the first `NAT66 add portfwd` line; the daemon has
//! the priority that its unit gives it, and none for comparison. A container's
//! ports come in one batch, and the lines are written after all of it is in the kernel; when the
//! Engine stamps the event, it has not sent it yet. Both errors make the figure worse.
//!
//! From exec to all rules: the clock before the daemon is started against the time of its line
//! `ready`, and the kernel is asked for the rules then. The Engine is the fake one, since a
//! hundred containers of a real one take a minute to start.

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests have more than is needed here")]
mod support;

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use support::PROGRAM;
use support::fake_engine::{FakeContainer, FakeEngine};
use support::lab::daemon::Daemon;
use support::lab::engine::Engine;
use support::lab::{Lab, rules};
use support::process::kib;
use support::wait::{SOON, eventually, let_pass};

const ARGS: [&str; 6] = [
    "--dev",
    "eth0",
    "--prefix",
    "fdfd:5898:4917:1::/64",
    "--log-format",
    "json",
];

/// Rounds of each measurement: the middle one of an odd number counts.
const ROUNDS: usize = 15;

/// Containers of the start, and ports of each.
const CONTAINERS: u16 = 100;
const PORTS: u16 = 3;

fn main() {
    println!(
        "{:<64} {:>9} {:>9} {:>9} {:>8}",
        "", "median", "least", "most", "goal"
    );
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    for backend in ["nftables", "ip6tables"] {
        if only.as_ref().is_some_and(|only| only != backend) {
            continue;
        }
        events(backend, unit_nice());
        events(backend, "0");
        starts(backend);
    }
    let size = fs::metadata(PROGRAM).expect("the program").len();
    println!(
        "{:<64} {:>6.1} MB",
        "size of the program",
        size as f64 / 1e6
    );
}

fn row(what: &str, mut times: Vec<Duration>, goal: &str) {
    times.sort();
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    let (least, most) = (times[0], times[times.len() - 1]);
    let median = times[times.len() / 2];
    println!(
        "{what:<64} {:>9} {:>9} {:>9} {goal:>8}",
        ms(median),
        ms(least),
        ms(most)
    );
}

/// What the unit says of the daemon's priority.
fn unit_nice() -> &'static str {
    let unit = include_str!("../src/assets/docker-nat66.service");
    let nice = unit.lines().find_map(|line| line.strip_prefix("Nice="));
    nice.expect("it has one")
}

/// From start event to rule, with a real Engine.
fn events(backend: &str, nice: &str) {
    let lab = Lab::up("figures_events");
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let args = [&ARGS[..], &["--backend", backend]].concat();
    let mut daemon = Daemon::start_by(&lab, &["nice", "-n", nice], &args);
    daemon.says("ready");
    println!(
        "{:<64} {:>9}",
        format!("{backend}: resident, idle, nothing published"),
        resident(&daemon)
    );
    for (ports, goal) in [(1, "2.5 ms"), (10, ""), (100, "6 ms")] {
        let times = (0..=ROUNDS).map(|_| one_event(&lab, &engine, &daemon, ports));
        // The first one warms up.
        let times = times.skip(1).collect();
        let what = format!("{backend}, nice {nice}: start event to the last of {ports} rules");
        let goal = match (backend, ports) {
            ("nftables", _) => goal,
            (_, 100) => "40 ms",
            _ => "",
        };
        row(&what, times, goal);
    }
    daemon.leaves();
}

fn one_event(lab: &Lab, engine: &Engine<'_>, daemon: &Daemon<'_>, ports: usize) -> Duration {
    let said = daemon.log().len();
    let range = format!("8000-{}", 7999 + ports);
    let id = engine.run("web", &["-p", &format!("{range}:{range}")], &["tcp:8000"]);
    let lines = eventually(SOON, "all rules", || {
        let lines = moments(&daemon.log()[said..], "NAT66 add portfwd");
        // Those for the host and containers themselves come behind.
        (lines.len() >= ports).then_some(lines).ok_or("not all")
    });
    assert_eq!(rules::published(lab.host()).len(), ports);
    let filter = format!("container={id}");
    let now = since_epoch();
    let now = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
    let past = ["events", "--since", "10m", "--until", &now];
    let which = [
        "--filter",
        &filter,
        "--filter",
        "event=start",
        "--format",
        "{{json .}}",
    ];
    let events = engine.docker(&[&past[..], &which].concat());
    let event: Value = serde_json::from_str(&events).expect("one event");
    let started = Duration::from_nanos(event["timeNano"].as_u64().expect("a time"));
    engine.remove("web");
    eventually(SOON, "no rules", || {
        let left = rules::published(lab.host()).len();
        (left == 0).then_some(()).ok_or(left)
    });
    lines[0] - started
}

/// From exec to all rules, with many containers.
fn starts(backend: &str) {
    let lab = Lab::up("figures_starts");
    let engine = FakeEngine::start();
    for number in 1..=CONTAINERS {
        let mut container = FakeContainer::new(number + 1, &format!("c{number}"));
        for port in 0..PORTS {
            container = container.publish(10_000 + number * PORTS + port, 80 + port);
        }
        engine.put(container);
    }
    let url = format!("unix://{}", engine.socket().display());
    let args = [&ARGS[..], &["--docker-host", &url, "--backend", backend]].concat();
    let all = usize::from(CONTAINERS * PORTS);
    let start = || {
        let began = since_epoch();
        let daemon = Daemon::ready(&lab, &args);
        let ready = moments(&daemon.log(), "ready");
        assert_eq!(rules::published(lab.host()).len(), all);
        (daemon, ready[0] - began)
    };
    let (mut fresh, mut after_kill) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (daemon, took) = start();
        fresh.push(took);
        daemon.sigkill();
        let (daemon, took) = start();
        after_kill.push(took);
        daemon.leaves();
    }
    let (daemon, _) = start();
    let what = format!("{backend}: exec to {all} rules, {CONTAINERS} containers, first start");
    row(&what, fresh, "150 ms");
    let what = format!("{backend}: exec to {all} rules, {CONTAINERS} containers, after kill -9");
    row(&what, after_kill, "150 ms");
    println!(
        "{:<64} {:>9}",
        format!("{backend}: resident, idle, {all} rules"),
        resident(&daemon)
    );
    daemon.leaves();
}

fn since_epoch() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("a clock that is set")
}

/// The times of the log lines whose message begins with `words`, since the epoch.
fn moments(log: &str, words: &str) -> Vec<Duration> {
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter(|line| {
            line["msg"]
                .as_str()
                .is_some_and(|msg| msg.starts_with(words))
        })
        .map(|line| {
            let time = line["ts"].as_str().expect("a time");
            let time = chrono::DateTime::parse_from_rfc3339(time).expect("a time");
            let nanos = time
                .timestamp_nanos_opt()
                .and_then(|n| u64::try_from(n).ok());
            Duration::from_nanos(nanos.expect("after 1970"))
        })
        .collect()
}

/// The daemon's resident memory once it has nothing to do.
fn resident(daemon: &Daemon<'_>) -> String {
    let_pass(Duration::from_secs(1));
    let kib = kib(daemon.id(), "VmRSS") as f64;
    format!("{:.1} MB", kib * 1024.0 / 1e6)
}

//! From an event of a real Engine to the kernel.

use std::time::Duration;

use crate::Options;
use crate::ear::{Change, Ear};
use crate::floor::Probe;
use crate::rows::{Figure, Goal, Table, median};
use crate::support::lab::Lab;
use crate::support::lab::engine::Engine;

/// How often each daemon has its turn, and containers of each size in a turn.
const TURNS: usize = 2;
const CONTAINERS: usize = 5;

/// Ports of a container.
const SIZES: [usize; 3] = [1, 10, 100];

/// Containers that start together, and rounds of that in a turn.
const BURST: usize = 20;
const BURSTS: usize = 4;

/// Times by size.
type BySize = [Vec<Duration>; SIZES.len()];

#[derive(Default)]
struct Times {
    starts: BySize,
    deaths: BySize,
    bursts: Vec<Duration>,
}

pub(crate) fn measure(backend: &str, options: &Options, table: &mut Table) {
    let lab = Lab::up(&format!("system_events_{backend}"));
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let ear = Ear::open(&lab);
    let mut probe = Probe::new(&lab);
    let mut times: Vec<Times> = options.subjects.iter().map(|_| Times::default()).collect();
    let mut floor = Times::default();
    for _ in 0..TURNS {
        for (subject, times) in options.subjects.iter().zip(&mut times) {
            let mut daemon = subject.start(&lab, backend, &[]);
            daemon.ready();
            turn(&lab, &engine, &ear, options, times);
            daemon.leaves();
        }
        floors(backend, &engine, &ear, &mut probe, &mut floor);
    }
    let goal = |nftables, ip6tables| {
        let most = if backend == "nftables" {
            nftables
        } else {
            ip6tables
        };
        Goal::AtMost(Figure::Ms(most))
    };
    let start_goals = match backend {
        "nftables" => [Goal::OfFloor(1.4); 3],
        _ => [6.0, 6.5, 10.0].map(|ms| Goal::AtMost(Figure::Ms(ms))),
    };
    let die_goals = [goal(1.5, 6.0), Goal::None, goal(2.5, 12.0)];
    for (at, ports) in SIZES.into_iter().enumerate() {
        let of = |times: &BySize| median(times[at].clone());
        if options.wants("start") {
            let figures = times.iter().map(|times| of(&times.starts)).collect();
            let what = format!("start event → rule, {ports} ports");
            table.add(backend, what, start_goals[at], figures, of(&floor.starts));
        }
        if options.wants("die") {
            let figures = times.iter().map(|times| of(&times.deaths)).collect();
            let what = format!("die event → rule gone, {ports} ports");
            table.add(backend, what, die_goals[at], figures, of(&floor.deaths));
        }
    }
    if options.wants("burst") {
        let figures = times.iter().map(|times| median(times.bursts.clone()));
        let what = format!("burst of {BURST} containers: last event → last rule");
        table.add(backend, what, goal(5.0, 12.0), figures.collect(), None);
    }
}

fn turn(lab: &Lab, engine: &Engine<'_>, ear: &Ear, options: &Options, times: &mut Times) {
    if options.wants("start") || options.wants("die") {
        for (at, ports) in SIZES.into_iter().enumerate() {
            // The first one warms up.
            for number in 0..=CONTAINERS {
                let (start, death) = one(engine, ear, ports);
                if number > 0 {
                    times.starts[at].push(start);
                    times.deaths[at].push(death);
                }
            }
        }
    }
    if options.wants("burst") {
        for _ in 0..BURSTS {
            times.bursts.push(burst(lab, engine, ear));
        }
    }
}

fn run(engine: &Engine<'_>, ports: usize) -> String {
    let range = format!("8000-{}", 7999 + ports);
    engine.run("web", &["-p", &format!("{range}:{range}")], &["tcp:8000"])
}

fn one(engine: &Engine<'_>, ear: &Ear, ports: usize) -> (Duration, Duration) {
    let before = ear.count(Change::Came);
    let id = run(engine, ports);
    let came = ear.more(Change::Came, before, ports);
    let started = ear.event("start", &id).at;
    let before = ear.count(Change::Went);
    engine.docker(&["kill", "web"]);
    let went = ear.more(Change::Went, before, ports);
    let died = ear.event("die", &id).at;
    engine.remove("web");
    (came.saturating_sub(started), went.saturating_sub(died))
}

fn burst(lab: &Lab, engine: &Engine<'_>, ear: &Ear) -> Duration {
    let create = |number: usize| {
        let (name, port) = (format!("b{number}"), format!("{}:80", 8000 + number));
        let args = ["create", "--stop-signal=KILL", "--name", &name, "-p", &port];
        engine.docker(&[&args[..], &["lab", "tcp:80"]].concat())
    };
    let ids: Vec<String> = (0..BURST).map(create).collect();
    let (came, went) = (ear.count(Change::Came), ear.count(Change::Went));
    let names: Vec<String> = (0..BURST).map(|number| format!("b{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let each = "for n in $(seq 0 19); do docker start b$n >/dev/null & done; wait";
    lab.host().sh(each);
    let last = ear.more(Change::Came, came, BURST);
    let events = ids.iter().map(|id| ear.event("start", id).at);
    let event = events.max().expect("some");
    engine.docker(&[&["rm", "-f"][..], &names].concat());
    ear.more(Change::Went, went, BURST);
    last.saturating_sub(event)
}

/// The same by the probe, while no daemon runs.
fn floors(backend: &str, engine: &Engine<'_>, ear: &Ear, probe: &mut Probe<'_>, floor: &mut Times) {
    for (at, ports) in SIZES.into_iter().enumerate() {
        for _ in 0..CONTAINERS {
            let id = run(engine, ports);
            let event = ear.event("start", &id);
            let [inserted, removed] = match backend {
                "nftables" => probe.batches(ports),
                _ => probe.tools(ports),
            };
            let lag = event.read.saturating_sub(event.at);
            let start = lag + probe.inspect(&id) + probe.sync(ports) + inserted;
            engine.docker(&["kill", "web"]);
            let event = ear.event("die", &id);
            let lag = event.read.saturating_sub(event.at);
            engine.remove("web");
            floor.starts[at].push(start);
            floor.deaths[at].push(lag + removed);
        }
    }
}

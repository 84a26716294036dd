//! Many containers, and very many ports, with a fake Engine.

use std::time::{Duration, Instant};

use crate::Options;
use crate::floor::of_many;
use crate::generation::Generation;
use crate::rows::{Figure, Goal, Table, median};
use crate::subject::{Running, Subject, since_epoch};
use crate::support::fake_engine::{FakeContainer, FakeEngine, Fault, Route};
use crate::support::lab::Lab;
use crate::support::wait::let_pass;

/// How often each daemon has its turn, and how often the small things are measured.
const TURNS: usize = 7;
const TIMES: usize = 9;

/// Containers of the start, and ports of each.
const CONTAINERS: u16 = 100;
const PORTS_EACH: u16 = 3;

/// Ports of each container of the large table.
const LARGE_EACH: u16 = 15_000;

/// How many of them there are: with 60,000 rules each look of ip6tables at its tables takes some 20 s.
fn large_containers(backend: &str) -> u16 {
    if backend == "nftables" { 4 } else { 1 }
}

fn ms(time: Duration) -> Figure {
    Figure::Ms(time.as_secs_f64() * 1e3)
}

/// A container whose answer to an inspect is written down, so that writing it takes no time.
fn written(number: u16, first: u16, ports: u16) -> FakeContainer {
    let mut container = FakeContainer::new(number, &format!("c{number}"));
    for port in first..first + ports {
        container = container.publish(port, port);
    }
    container.raw_inspect = Some(container.inspect());
    container
}

/// Writes down the answer to a list of these, too.
fn put(engine: &FakeEngine, containers: &[FakeContainer]) {
    let rows: Vec<_> = containers.iter().map(FakeContainer::row).collect();
    let list = serde_json::Value::from(rows).to_string();
    engine.fault(Route::List, Fault::Body(list), usize::MAX);
    containers.iter().for_each(|one| engine.put(one.clone()));
}

/// The daemons that take our arguments.
fn subjects(options: &Options) -> impl Iterator<Item = Option<&Subject>> {
    let all = options.subjects.iter();
    all.map(|subject| subject.is_like_ours.then_some(subject))
}

/// From exec to ready, with many containers.
pub(crate) fn ready(backend: &str, options: &Options, table: &mut Table) {
    let lab = Lab::up(&format!("system_ready_{backend}"));
    let engine = FakeEngine::start();
    let containers = (0..CONTAINERS).map(|n| written(n + 2, 10_000 + n * PORTS_EACH, PORTS_EACH));
    put(&engine, &containers.collect::<Vec<_>>());
    let url = format!("unix://{}", engine.socket().display());
    let mut times: Vec<Vec<Duration>> = options.subjects.iter().map(|_| Vec::new()).collect();
    for _ in 0..TURNS {
        for (subject, times) in subjects(options).zip(&mut times) {
            let Some(subject) = subject else { continue };
            let mut daemon = subject.start(&lab, backend, &["--docker-host", &url]);
            times.push(daemon.ready());
            daemon.leaves();
        }
    }
    let goal = if backend == "nftables" { 40.0 } else { 70.0 };
    let all = CONTAINERS * PORTS_EACH;
    let what = format!("exec → READY, {CONTAINERS} containers, {all} ports");
    let figures = times.into_iter().map(median).collect();
    table.add(backend, what, Goal::AtMost(Figure::Ms(goal)), figures, None);
}

/// One container with 10,000 ports, and the memory for fewer.
pub(crate) fn ports(backend: &str, options: &Options, table: &mut Table) {
    const MANY: u16 = 10_000;
    let mut floor = None;
    let [mut into, mut idle, mut few, mut many, mut scrape, mut back] = [const { Vec::new() }; 6];
    for subject in subjects(options) {
        let Some(subject) = subject else { continue };
        let lab = Lab::up(&format!("system_ports_{backend}"));
        let engine = FakeEngine::start();
        let url = format!("unix://{}", engine.socket().display());
        let generation = Generation::watch(&lab);
        let mut daemon = subject.start(&lab, backend, &["--docker-host", &url]);
        daemon.ready();
        let before = daemon.memory();
        idle.push(Some(Figure::Mib(before)));
        engine.run(written(2, 1, 300));
        daemon.opens(300);
        few.push(Some(Figure::Mib(daemon.memory())));
        engine.die(&written(2, 1, 300).id);
        daemon.opens(0);
        let mut times = Vec::new();
        for number in 0..if backend == "nftables" { TURNS } else { 1 } {
            let container = written(3, 1, MANY);
            let id = container.id.clone();
            let began = since_epoch();
            engine.run(container);
            daemon.opens(MANY.into());
            times.push(generation.last_change().saturating_sub(began));
            if number == 0 {
                many.push(Some(Figure::Mib(daemon.memory())));
                scrape.push(repeated(&daemon, &["metrics"]));
            }
            engine.die(&id);
            daemon.opens(0);
        }
        into.push(median(times));
        back.push(Some(Figure::Mib(daemon.memory() - before)));
        daemon.leaves();
        if backend == "nftables" {
            floor.get_or_insert_with(|| ms(of_many(&lab, MANY).0));
        }
    }
    let most = |mib| Goal::AtMost(Figure::Mib(mib));
    let goal = match backend {
        "nftables" => Goal::AtMost(Figure::Ms(300.0)),
        _ => Goal::None,
    };
    let what = "10,000 ports of one container: event → all rules";
    table.add(backend, what, goal, into, floor);
    table.add(backend, "memory idle", most(8.0), idle, None);
    table.add(backend, "memory with 300 forwards", most(9.0), few, None);
    table.add(
        backend,
        "memory with 10,000 forwards",
        most(40.0),
        many,
        None,
    );
    let goal = Goal::AtMost(Figure::Ms(50.0));
    table.add(backend, "`metrics` of 10,000 forwards", goal, scrape, None);
    table.add(
        backend,
        "memory above idle when they are gone",
        most(20.0),
        back,
        None,
    );
}

/// What is measured of one daemon with very many ports.
#[derive(Default)]
struct Large(Vec<LargeRow>);

/// What, goal, measured, floor.
type LargeRow = (String, Goal, Option<Figure>, Option<Figure>);

impl Large {
    fn add(&mut self, what: impl Into<String>, goal: Goal, figure: impl Into<Option<Figure>>) {
        self.0.push((what.into(), goal, figure.into(), None));
    }

    /// The row that was added last has this floor.
    fn floor(&mut self, floor: Option<Duration>) {
        let last = self.0.last_mut().expect("a row");
        last.3 = floor.map(ms);
    }
}

/// 60,000 ports; 15,000 with ip6tables.
pub(crate) fn full(backend: &str, options: &Options, table: &mut Table) {
    let all: Vec<Option<Large>> = subjects(options)
        .map(|subject| subject.map(|subject| large(backend, subject)))
        .collect();
    let rows = all.iter().flatten().map(|large| large.0.len()).max();
    for at in 0..rows.unwrap_or_default() {
        let row = |large: &Option<Large>| large.as_ref().map(|large| large.0[at].clone());
        let figures: Vec<_> = all.iter().map(row).collect();
        if let Some((what, goal, _, floor)) = figures.iter().flatten().next() {
            let figures = figures
                .iter()
                .map(|row| row.as_ref().and_then(|(_, _, figure, _)| *figure));
            table.add(backend, what, *goal, figures.collect(), *floor);
        }
    }
}

fn large(backend: &str, subject: &Subject) -> Large {
    let mut rows = Large::default();
    let is_nftables = backend == "nftables";
    // What ip6tables takes is only told.
    let goal = |goal| if is_nftables { goal } else { Goal::None };
    let at_most = |n| goal(Goal::AtMost(Figure::Ms(n)));
    let lab = Lab::up(&format!("system_scale_{backend}"));
    let engine = FakeEngine::start();
    let url = format!("unix://{}", engine.socket().display());
    let args = ["--docker-host", &url, "--hairpin", "on"];
    let ports = large_containers(backend) * LARGE_EACH;
    let all = format!("{}", ports / 1_000) + ",000";
    let (floor_in, floor_out) = match backend {
        "nftables" => Some(of_many(&lab, ports)).unzip(),
        _ => (None, None),
    };
    let ports = usize::from(ports);
    let generation = Generation::watch(&lab);
    let mut daemon = subject.start(&lab, backend, &args);
    daemon.ready();
    let idle = daemon.memory();

    engine.run(written(90, 60_001, 1_000));
    daemon.opens(1_000);
    let (small_resync, small_change) = (resync(&daemon), changes(&engine, &daemon, &generation));
    engine.die(&written(90, 60_001, 1_000).id);
    daemon.opens(0);

    let containers =
        (0..large_containers(backend)).map(|n| written(n + 2, 1 + n * LARGE_EACH, LARGE_EACH));
    let containers: Vec<_> = containers.collect();
    let began = Instant::now();
    containers.iter().for_each(|one| engine.run(one.clone()));
    daemon.opens(ports);
    let into = ms(began.elapsed());
    rows.add(format!("{all} forwards: in"), at_most(2000.0), into);
    rows.floor(floor_in);
    put(&engine, &containers);
    let held = daemon.memory();
    rows.add(
        format!("memory with {all} forwards"),
        Goal::AtMost(Figure::Mib(200.0)),
        Figure::Mib(held),
    );

    let (change, cpu) = changes(&engine, &daemon, &generation);
    rows.add(
        format!("1 more forward while {all} stand: event → rule"),
        at_most(3.0),
        change,
    );
    rows.add("the same: CPU", at_most(2.0), cpu);
    let times = |n| goal(Goal::AtMost(Figure::Times(n)));
    let ratio = |large: Figure, small: Figure| Figure::Times(large.number() / small.number());
    let resync = resync(&daemon).zip(small_resync);
    let resync = resync.map(|(large, small)| ratio(large, small));
    rows.add(
        format!("growth from 1,000 to {all}: full resync"),
        times(65.0),
        resync,
    );
    let growth = ratio(change, small_change.0);
    rows.add(
        format!("growth from 1,000 to {all}: one change"),
        times(1.2),
        growth,
    );

    let began = Instant::now();
    let dump = daemon.command(&["dump", "--json"]);
    assert!(dump.status.success());
    let dumped = ms(began.elapsed());
    rows.add(format!("dump of {all}"), at_most(1000.0), dumped);
    let status = (0..TIMES).map(|_| {
        let began = Instant::now();
        daemon.command(&["status", "--json"]);
        began.elapsed()
    });
    let status = median(status.collect()).expect("some");
    rows.add(format!("status of {all}"), at_most(20.0), status);

    daemon.sigkill();
    let mut daemon = subject.start(&lab, backend, &args);
    let ready = daemon.ready();
    let what = format!("{all} forwards: kill → READY");
    rows.add(what, at_most(2500.0), ms(ready));
    let found = daemon.memory();
    rows.add(
        "memory when they are found again",
        Goal::None,
        Figure::Mib(found),
    );
    let began = Instant::now();
    containers.iter().for_each(|one| engine.die(&one.id));
    daemon.opens(0);
    let out = ms(began.elapsed());
    rows.add(format!("{all} forwards: out"), at_most(2000.0), out);
    rows.floor(floor_out);
    let back = Figure::Mib(daemon.memory() - idle);
    rows.add(
        format!("memory above idle when {all} are gone"),
        Goal::AtMost(Figure::Mib(20.0)),
        back,
    );
    engine.heal();
    daemon.leaves();
    rows
}

/// One forward more and less: how late it comes, and what that takes of the processor.
fn changes(engine: &FakeEngine, daemon: &Running<'_>, generation: &Generation) -> (Figure, Figure) {
    let (mut times, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let container = written(77, 65_000, 1);
        let id = container.id.clone();
        let before = daemon.cpu();
        let began = since_epoch();
        engine.run(container);
        times.push(generation.change_after(began, "1 more forward") - began);
        // The health of the host is reported a quarter of a second later.
        let_pass(Duration::from_millis(500));
        cpu.push(daemon.cpu() - before);
        let began = since_epoch();
        engine.die(&id);
        // Else a slow daemon would see it come back before it has gone, and do nothing.
        generation.change_after(began, "1 forward less");
        let_pass(Duration::from_millis(500));
    }
    let middle = |times| median(times).expect("some");
    (middle(times), middle(cpu))
}

/// Everything is listed and compared.
fn resync(daemon: &Running<'_>) -> Option<Figure> {
    repeated(daemon, &["reload"])
}

/// How long a command takes that a program of before may not have.
fn repeated(daemon: &Running<'_>, command: &[&str]) -> Option<Figure> {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let began = Instant::now();
        let done = daemon.command(command);
        // Wrong usage.
        if done.status.code() == Some(2) {
            return None;
        }
        assert!(done.status.success(), "{done:?}");
        times.push(began.elapsed());
    }
    median(times)
}

//! From an event of a real Engine to the kernel.

use std::time::Duration;

use crate::Options;
use crate::api;
use crate::ear::{Change, Ear};
use crate::floor::Probe;
use crate::rows::{Figure, Goal, Table, median};
use crate::subject::since_epoch;
use crate::support::lab::Lab;
use crate::support::lab::engine::Engine;

/// How often each daemon has its turn, and how often a container of each size starts in a turn: eight
/// values for each median.
const TURNS: usize = 4;
const ROUNDS: usize = 2;

/// Ports of a container.
const SIZES: [usize; 3] = [1, 10, 100];

/// Containers that start together.
const BURST: usize = 20;

/// Times by size.
type BySize = [Vec<Duration>; SIZES.len()];

#[derive(Default)]
struct Times {
    /// DNAT rules of a port.
    rules: Option<usize>,
    starts: BySize,
    deaths: BySize,
    bursts: Vec<Duration>,
}

/// The Engine, what it announces, and its containers.
struct Scene<'l> {
    lab: &'l Lab,
    ear: Ear,
    /// One of each size, for the same ports.
    sizes: Vec<String>,
    burst: Vec<String>,
}

impl<'l> Scene<'l> {
    fn new(lab: &'l Lab, engine: &Engine<'l>, options: &Options) -> Self {
        let create = |name: &str, publish: &str| {
            let args = ["create", "--name", name, "-p", publish, "lab", "tcp:80"];
            engine.docker(&args)
        };
        let sizes = SIZES.map(|ports| {
            // Docker's own rules for IPv4, of which an address of IPv6 has none, take seconds for 100 ports.
            let addr = if ports < 100 { "" } else { "[::]:" };
            let range = format!("{addr}8000-{0}:8000-{0}", 7999 + ports);
            create(&format!("ports-{ports}"), &range)
        });
        let in_burst = if options.wants("burst") { BURST } else { 0 };
        let burst = (0..in_burst)
            .map(|number| create(&format!("burst-{number}"), &format!("{}:80", 9000 + number)));
        Self {
            lab,
            ear: Ear::open(lab),
            sizes: sizes.into(),
            burst: burst.collect(),
        }
    }

    /// All that is measured of the program that serves now, once or some times.
    fn turn(&self, options: &Options, times: &mut Times) {
        // It warms up, and shows the first time how many rules it makes of a port.
        let one = &self.sizes[..1];
        let rules = *times.rules.get_or_insert_with(|| self.rules_of(one));
        self.lives(one, rules);
        for _ in 0..ROUNDS {
            if options.wants("start") || options.wants("die") {
                for (at, ports) in SIZES.into_iter().enumerate() {
                    let (start, death) = self.lives(&self.sizes[at..=at], ports * rules);
                    times.starts[at].push(start);
                    times.deaths[at].push(death);
                }
            }
            if options.wants("burst") {
                let (start, _) = self.lives(&self.burst, BURST * rules);
                times.bursts.push(start);
            }
        }
    }

    /// How many DNAT rules a container with one port makes.
    fn rules_of(&self, one: &[String]) -> usize {
        let before = self.ear.count(Change::Came);
        api::each(self.lab, "start", one);
        let came = self.ear.all(Change::Came, before);
        let before = self.ear.count(Change::Went);
        api::each(self.lab, "kill", one);
        let went = self.ear.all(Change::Went, before);
        assert_eq!(came, went, "rules of a port that came, and that went");
        came
    }

    /// Has containers start and die together: from the last event to the last rule, for both.
    fn lives(&self, ids: &[String], rules: usize) -> (Duration, Duration) {
        let [start, death] = [
            ("start", "start", Change::Came),
            ("kill", "die", Change::Went),
        ]
        .map(|(order, action, change)| {
            let before = self.ear.count(change);
            let since = since_epoch();
            api::each(self.lab, order, ids);
            let last = self.ear.more(change, before, rules);
            let events = ids.iter().map(|id| self.ear.event(action, id, since));
            let event = events.max().expect("a container");
            let all = self.ear.count(change) - before;
            assert_eq!(
                all,
                rules,
                "DNAT rules of {} containers: {change:?}",
                ids.len()
            );
            last.saturating_sub(event)
        });
        (start, death)
    }
}

pub(crate) fn measure(backend: &str, options: &Options, table: &mut Table) {
    let lab = Lab::up(&format!("system_events_{backend}"));
    let engine = Engine::up(&lab, &["--userland-proxy=false"]);
    let scene = Scene::new(&lab, &engine, options);
    let mut probe = Probe::new(&lab, backend);
    let mut times: Vec<Times> = options.subjects.iter().map(|_| Times::default()).collect();
    let mut floor = Times::default();
    for turn in 1..=TURNS {
        for (subject, times) in options.subjects.iter().zip(&mut times) {
            eprintln!(
                "events, {backend}, turn {turn} of {TURNS}: {}",
                subject.name
            );
            // With `auto` the rule for the host itself comes later, once docker-proxy was looked for.
            let mut daemon = subject.start(&lab, backend, &["--hairpin", "on"]);
            daemon.ready();
            scene.turn(options, times);
            daemon.leaves();
            let rules = times.rules.unwrap_or_default();
            eprintln!("  {rules} DNAT rules of a port");
        }
        eprintln!("events, {backend}, turn {turn} of {TURNS}: the floor");
        let rules = times[0].rules.expect("it has had its turn");
        probe.during(rules, || scene.turn(options, &mut floor));
    }
    rows(backend, options, &times, &floor, table);
}

fn rows(backend: &str, options: &Options, times: &[Times], floor: &Times, table: &mut Table) {
    let most = |nftables, ip6tables| {
        let ms = match backend {
            "nftables" => nftables,
            _ => ip6tables,
        };
        Goal::AtMost(Figure::Ms(ms))
    };
    let start_goals = match backend {
        "nftables" => [Goal::OfFloor(1.4); 3],
        _ => [6.0, 6.5, 10.0].map(|ms| Goal::AtMost(Figure::Ms(ms))),
    };
    let die_goals = [most(1.5, 6.0), Goal::None, most(2.5, 12.0)];
    let mut row = |what: String, goal, of: &dyn Fn(&Times) -> &Vec<Duration>| {
        let middle = |times| median(of(times).clone());
        let figures = times.iter().map(middle).collect();
        table.add(backend, what, goal, figures, middle(floor));
    };
    for (at, ports) in SIZES.into_iter().enumerate() {
        let ports = if ports == 1 {
            "1 port"
        } else {
            &format!("{ports} ports")
        };
        if options.wants("start") {
            let what = format!("start event → rule, {ports}");
            row(what, start_goals[at], &|times| &times.starts[at]);
        }
        if options.wants("die") {
            let what = format!("die event → rule gone, {ports}");
            row(what, die_goals[at], &|times| &times.deaths[at]);
        }
    }
    if options.wants("burst") {
        let what = format!("burst of {BURST} containers: last event → last rule");
        row(what, most(5.0, 12.0), &|times| &times.bursts);
    }
}

//! The life of a daemon, stage by stage, and what its successor finds.

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::Command;
use std::time::Instant;

use docker_nat66::control::status::DaemonState;
use docker_nat66::sys::failpoint;
use rustix::process::Signal;
use serde_json::Value;

use crate::running::{self, Running, are_open};
use crate::support::PROGRAM;
use crate::support::daemon::{Daemon, End, keeps};
use crate::support::fake_engine::FakeEngine;
use crate::support::process::tools_but_of;
use crate::support::scene::{self, Scene};
use crate::support::score::Score;

/// How many stages a life has, leaving not counted.
pub(crate) const STAGES: usize = 6;

/// The one that changes nothing.
const RESYNC: usize = 6;

/// How the daemon is run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Orders {
    /// The step at which it kills itself.
    pub(crate) kill_at: Option<usize>,
    /// Whether it leaves its rules to a successor.
    pub(crate) keep: bool,
}

impl Orders {
    fn start<'s>(self, scene: &'s Scene, engine: &FakeEngine) -> Daemon<'s> {
        let mut command = scene.daemon(engine.socket());
        if let Some(at) = self.kill_at {
            command.env(failpoint::AT, at.to_string());
        }
        command.args(keeps(self.keep));
        Daemon::spawn(scene, command)
    }
}

/// A part of a life, to be killed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The stage of this number: the first start is 1.
    Stage(usize),
    Leaving,
    /// Leaving its rules to a successor.
    HandingOver,
    /// A start beside rules that are there and a journal that is damaged.
    Quarantine,
}

impl Part {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let others = [Self::Leaving, Self::HandingOver, Self::Quarantine];
        (1..=STAGES).map(Self::Stage).chain(others)
    }

    /// The stage whose containers run when it is over.
    pub(crate) fn stage(self) -> usize {
        match self {
            Self::Stage(stage) => stage,
            _ => STAGES,
        }
    }

    fn is_start(self) -> bool {
        matches!(self, Self::Stage(1) | Self::Quarantine)
    }
}

/// What a successor has in the kernel, and in its journal.
pub(crate) struct Found {
    /// When it was.
    pub(crate) ready: Instant,
    /// As [`Scene::ours`].
    pub(crate) ours: Vec<String>,
    /// The ids of those, each once.
    pub(crate) ids: Vec<String>,
    /// The ids in the journal.
    pub(crate) journal: Vec<String>,
    /// What is wrong with the history, or how it differs from what is open.
    pub(crate) history: Vec<String>,
}

/// The Engine as it is after a stage.
pub(crate) fn engine_after(stage: usize) -> FakeEngine {
    running::engine(running_after(stage))
}

/// Number and published port of what runs after each stage: the first start; an insertion; a
/// removal; a port that moves to another container; both at once; a resync that changes nothing.
fn running_after(stage: usize) -> &'static Running {
    match stage {
        0 | 1 => &[(2, 8080), (3, 8081)],
        2 => &[(2, 8080), (3, 8081), (4, 8082)],
        3 => &[(3, 8081), (4, 8082)],
        4 => &[(5, 8081), (4, 8082)],
        _ => &[(5, 8081), (6, 8083), (7, 8084)],
    }
}

/// Lives through every stage; `done` hears of each that was completed.
pub(crate) fn live(scene: &Scene, orders: Orders, mut done: impl FnMut(usize)) -> End {
    let _ = std::fs::remove_file(scene.log_path());
    let engine = engine_after(1);
    let mut daemon = orders.start(scene, &engine);
    for stage in 1..=STAGES {
        if !goes_on(&mut daemon, &engine, stage) {
            return End::Killed;
        }
        done(stage);
    }
    daemon.signal(Signal::TERM);
    daemon.end()
}

/// Lives through this part, and as little as possible besides, with the kill at step `at`. Gives
/// the steps that lie between the part's beginning and its end, as far as it came.
pub(crate) fn live_through(scene: &Scene, part: Part, at: usize) -> (End, Range<usize>) {
    if part == Part::Quarantine {
        let engine = engine_after(STAGES);
        assert_eq!(Daemon::ready(scene, &engine, &[]).kill(), End::Killed);
        scene.damage_journal();
    }
    let _ = std::fs::remove_file(scene.log_path());
    let stage = part.stage();
    let engine = engine_after(match part {
        Part::Stage(stage) => stage - 1,
        _ => stage,
    });
    let orders = Orders {
        kill_at: Some(at),
        keep: part == Part::HandingOver,
    };
    let mut daemon = orders.start(scene, &engine);
    let mut steps = 0..0;
    let mut end = || {
        if !daemon.is_ready() {
            return End::Killed;
        }
        if !part.is_start() {
            steps.start = scene.steps();
            if matches!(part, Part::Stage(_)) && !goes_on(&mut daemon, &engine, stage) {
                return End::Killed;
            }
        }
        steps.end = scene.steps();
        daemon.signal(Signal::TERM);
        daemon.end()
    };
    let end = end();
    if matches!(part, Part::Leaving | Part::HandingOver) {
        steps.end = scene.steps();
    }
    (end, steps)
}

/// From the stage before to this one; `false` if it was killed.
fn goes_on(daemon: &mut Daemon<'_>, engine: &FakeEngine, stage: usize) -> bool {
    let resyncs = daemon.status().map_or(0, |status| status.resyncs);
    if stage == RESYNC {
        daemon.signal(Signal::HUP);
    } else {
        running::change(engine, running_after(stage - 1), running_after(stage));
    }
    reaches(daemon, stage, resyncs)
}

/// Starts a successor after a kill in the midst of `stage`, and kills it at the step `at`, or when
/// it has recovered: then it counts as one that left.
pub(crate) fn recover(scene: &Scene, stage: usize, at: usize) -> End {
    let engine = engine_after(stage);
    let orders = Orders {
        kill_at: Some(at),
        keep: false,
    };
    let mut daemon = orders.start(scene, &engine);
    match daemon.is_ready() {
        true => End::Left,
        false => End::Killed,
    }
}

/// Starts a successor after a kill in the midst of `stage`, looks, and lets it leave.
#[track_caller]
pub(crate) fn restart(scene: &Scene, stage: usize) -> Found {
    let engine = engine_after(stage);
    let mut daemon = Daemon::ready(scene, &engine, &[]);
    let ready = Instant::now();
    let ours = scene.ours();
    let ids = scene::ids(&ours);
    let journal = daemon.journal();
    let history = faults_of_history(scene, stage);
    daemon.leaves();
    Found {
        ready,
        ours,
        ids,
        journal,
        history,
    }
}

/// The seals hold; what runs at this stage is open, once, and nothing else; and no port was open twice at
/// a time.
fn faults_of_history(scene: &Scene, stage: usize) -> Vec<String> {
    let mut command = Command::new(PROGRAM);
    command.args(["dump", "--history", "--json", "--state-dir"]);
    let output = command.arg(scene.state_dir()).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return vec![format!("{output:?}")];
    }
    let mut faults = Vec::new();
    let (mut open, mut last_closed) = (Vec::new(), BTreeMap::new());
    for line in text.lines().filter(|line| line.contains("host_port")) {
        let row: Value = serde_json::from_str(line).expect("an object");
        let port = row["host_port"].as_u64().expect("a port");
        let time = |field: &str| row[field].as_str().map(str::to_owned);
        if time("opened") < last_closed.get(&port).cloned().flatten() {
            faults.push(format!("open twice: {line}"));
        }
        match (time("closed"), row["reason"].as_str()) {
            (None, _) => open.push(port),
            // Its end is when that was found.
            (_, Some("rule-gone" | "daemon-killed" | "rebooted")) => {}
            (closed, _) => drop(last_closed.insert(port, closed)),
        }
    }
    open.sort_unstable();
    let mut running: Vec<u64> = running_after(stage)
        .iter()
        .map(|(_, port)| (*port).into())
        .collect();
    running.sort_unstable();
    if open != running {
        faults.push(format!("{open:?} are open"));
    }
    faults
}

/// What a daemon that is never killed has in the kernel after each stage.
pub(crate) fn reference(scene: &Scene) -> BTreeMap<usize, Vec<String>> {
    let mut seen = BTreeMap::new();
    let end = live(scene, Orders::default(), |stage| {
        seen.insert(stage, scene.ours());
    });
    assert_eq!(end, End::Left, "{}", scene.log());
    assert_eq!(seen.len(), STAGES);
    assert_eq!(scene.ours(), Vec::<String>::new());
    seen
}

/// The restart after a kill, or a power cut: everything as it should be, and gone when it leaves.
#[track_caller]
pub(crate) fn recovers(
    scene: &Scene,
    stage: usize,
    reference: &BTreeMap<usize, Vec<String>>,
    score: &mut Score,
    what: &str,
) {
    let started = Instant::now();
    let found = restart(scene, stage);
    score.recovered(found.ready - started);
    let what = format!("{what}, stage {stage}");
    let as_it_should_be = [
        ("kernel", &found.ours, &reference[&stage]),
        ("journal", &found.journal, &found.ids),
        ("left behind", &scene.traces(), &Vec::new()),
        ("tools", &tools_but_of(None), &Vec::new()),
        ("history", &found.history, &Vec::new()),
    ];
    for (which, is, should) in as_it_should_be {
        scene.has(score, &format!("{which}: {what}"), should, is);
    }
    scene.spares_others(score, &what);
}

/// Waits until the stage's ports are open at its containers, no others are, and, where a resync
/// was asked for, that has come after the first `resyncs`.
fn reaches(daemon: &mut Daemon<'_>, stage: usize, resyncs: u64) -> bool {
    daemon.shows(&format!("at stage {stage}"), |status, rows| {
        // What is on its way in or out is not over.
        let all_applied = rows.iter().all(|row| row.state == "applied");
        let is_over = stage != RESYNC || status.resyncs > resyncs;
        status.state == DaemonState::Running
            && all_applied
            && are_open(rows, running_after(stage))
            && is_over
    })
}

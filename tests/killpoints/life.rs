//! The life of a daemon, stage by stage, and what its successor finds.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::net::Ipv6Addr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use docker_nat66::control::client;
use docker_nat66::control::protocol::{Answer, Request};
use docker_nat66::control::status::{State, Status};
use docker_nat66::killpoint;
use rustix::process::{Pid, Signal, kill_process};

use crate::fake_engine::{FakeContainer, FakeEngine};
use crate::scene::Scene;

/// How many stages a life has, leaving not counted.
pub(crate) const STAGES: usize = 6;

/// The one that changes nothing.
const RESYNC: usize = 6;

/// How long any stage may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself, as asked.
    Left,
    /// By the kill.
    Killed,
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
}

/// The Engine as it is after a stage.
fn engine_after(stage: usize) -> FakeEngine {
    let engine = FakeEngine::start();
    for &(number, port) in containers_after(stage) {
        engine.put(container(number, port));
    }
    engine
}

fn container(number: u16, port: u16) -> FakeContainer {
    FakeContainer::new(number, &format!("c{number}")).publish(port, 80)
}

/// Number and published port of what runs after each stage: the first start; an insertion; a
/// removal; a port that moves to another container; both at once; a resync that changes nothing.
fn containers_after(stage: usize) -> &'static [(u16, u16)] {
    match stage {
        0 | 1 => &[(2, 8080), (3, 8081)],
        2 => &[(2, 8080), (3, 8081), (4, 8082)],
        3 => &[(3, 8081), (4, 8082)],
        4 => &[(5, 8081), (4, 8082)],
        _ => &[(5, 8081), (6, 8083), (7, 8084)],
    }
}

/// Takes the Engine from the stage before to this one.
fn change(engine: &FakeEngine, stage: usize) {
    let id = |number: u16| container(number, 1).id;
    match stage {
        2 => engine.run(container(4, 8082)),
        3 => engine.die(&id(2)),
        4 => {
            engine.die(&id(3));
            engine.run(container(5, 8081));
        }
        5 => {
            engine.die(&id(4));
            engine.run(container(6, 8083));
            engine.run(container(7, 8084));
        }
        _ => {}
    }
}

/// Lives through every stage, with the kill at step `at`; `done` hears of each that was completed.
pub(crate) fn live(scene: &Scene, at: Option<usize>, mut done: impl FnMut(usize)) -> End {
    let _ = std::fs::remove_file(scene.log_path());
    let engine = engine_after(1);
    let mut daemon = Daemon::start(scene, &engine, at);
    for stage in 1..=STAGES {
        let resyncs = daemon.status().map_or(0, |status| status.resyncs);
        if stage == RESYNC {
            daemon.signal(Signal::HUP);
        } else {
            change(&engine, stage);
        }
        if !daemon.reaches(stage, resyncs) {
            return End::Killed;
        }
        done(stage);
    }
    daemon.signal(Signal::TERM);
    daemon.end()
}

/// Starts a successor after a kill in the midst of `stage`, and kills it at the step `at`.
pub(crate) fn recover(scene: &Scene, stage: usize, at: usize) -> End {
    let engine = engine_after(stage);
    let mut daemon = Daemon::start(scene, &engine, Some(at));
    if !daemon.is_ready() {
        return End::Killed;
    }
    daemon.signal(Signal::TERM);
    daemon.end()
}

/// Starts a successor after a kill in the midst of `stage`, looks, and lets it leave.
#[track_caller]
pub(crate) fn restart(scene: &Scene, stage: usize) -> Found {
    let engine = engine_after(stage);
    let mut daemon = Daemon::start(scene, &engine, None);
    assert!(daemon.is_ready(), "{}", scene.log());
    let ready = Instant::now();
    let ours = scene.ours();
    let mut ids: Vec<String> = ours
        .iter()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect();
    ids.dedup();
    let journal = daemon.journal();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), End::Left, "{}", scene.log());
    Found {
        ready,
        ours,
        ids,
        journal,
    }
}

struct Daemon<'s> {
    scene: &'s Scene,
    child: Child,
}

impl<'s> Daemon<'s> {
    fn start(scene: &'s Scene, engine: &FakeEngine, at: Option<usize>) -> Self {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(scene.log_path());
        let log = log.expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_docker-nat66"));
        command
            .args(["run", "--dev", "eth0", "--prefix", "fdfd:5898:4917:1::/64"])
            .args(["--backend", scene.backend().name(), "--hairpin", "off"])
            .arg("--state-dir")
            .arg(scene.state_dir())
            .arg("--control")
            .arg(scene.control())
            .arg("--docker-host")
            .arg(format!("unix://{}", engine.socket().display()))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("another descriptor"))
            .stderr(log);
        if let Some(at) = at {
            command.env(killpoint::AT, at.to_string());
            if scene.hands_over() {
                command.args(["--on-exit", "keep"]);
            }
        }
        let child = command.spawn().expect("the daemon");
        Self { scene, child }
    }

    /// Waits until the status says so; `false` if it was killed before.
    fn waits(&mut self, what: &str, is: impl Fn(&Status) -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                assert_eq!(status.signal(), Some(9), "{status}: {}", self.scene.log());
                return false;
            }
            if self.status().is_some_and(|status| is(&status)) {
                return true;
            }
            assert!(
                Instant::now() < deadline,
                "not {what}: {}",
                self.scene.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn is_ready(&mut self) -> bool {
        self.waits("ready", |status| status.state == State::Running)
    }

    /// Waits until the stage's ports are open at its containers, no others are, and, where a
    /// resync was asked for, that has come after the first `resyncs`.
    fn reaches(&mut self, stage: usize, resyncs: u64) -> bool {
        let expected: BTreeSet<(u16, Ipv6Addr)> = containers_after(stage)
            .iter()
            .filter_map(|(number, port)| Some((*port, container(*number, *port).address?)))
            .collect();
        let control = self.scene.control();
        self.waits(&format!("at stage {stage}"), |status| {
            let Ok(Answer::Dump(rows)) = client::ask(&control, Request::Dump) else {
                return false;
            };
            // What is on its way in or out is not over.
            let all_applied = rows.iter().all(|row| row.state == "applied");
            let open: BTreeSet<(u16, Ipv6Addr)> = rows
                .iter()
                .filter_map(|row| Some((row.host_port?, row.container_addr?)))
                .collect();
            let is_over = stage != RESYNC || status.resyncs > resyncs;
            status.state == State::Running && all_applied && open == expected && is_over
        })
    }

    fn status(&self) -> Option<Status> {
        match client::ask(&self.scene.control(), Request::Status) {
            Ok(Answer::Status(status)) => Some(*status),
            _ => None,
        }
    }

    /// The ids in the journal, sorted.
    fn journal(&self) -> Vec<String> {
        let Ok(Answer::Dump(rows)) = client::ask(&self.scene.control(), Request::Dump) else {
            panic!("no dump: {}", self.scene.log());
        };
        assert!(rows.iter().all(|row| row.state == "applied"), "{rows:?}");
        let mut ids: Vec<String> = rows.into_iter().map(|row| row.id).collect();
        ids.sort();
        ids.dedup();
        ids
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let _ = kill_process(pid.expect("a process id"), signal);
    }

    /// Waits for its end.
    fn end(&mut self) -> End {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                if status.signal() == Some(9) {
                    return End::Killed;
                }
                assert!(status.success(), "{status}: {}", self.scene.log());
                return End::Left;
            }
            assert!(
                Instant::now() < deadline,
                "it does not end: {}",
                self.scene.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

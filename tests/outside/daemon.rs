//! The daemon under test, what it is asked, and what should be in the kernel then.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use docker_nat66::control::client;
use docker_nat66::control::protocol::{Answer, Request};
use docker_nat66::control::status::{State, Status};
use rustix::process::{Pid, Signal, kill_process};

use crate::fake_engine::{FakeContainer, FakeEngine};
use crate::namespace;
use crate::scene::Scene;
use crate::score::Score;

/// How long anything may take. The longest is an Engine that is silent while the daemon waits for
/// an answer (10 s), connects again after the longest pause (10 s), and is silent again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Most memory of a daemon that is flooded, at any moment, in MiB: it has some 15 when idle, and
/// what is read at once may have 64, and is turned over once.
pub(crate) const MOST_MEMORY: usize = 256;

/// Number and published port of the containers that run.
pub(crate) type Running = &'static [(u16, u16)];

/// What runs before a fault.
pub(crate) const BEFORE: Running = &[(2, 8080), (3, 8081)];

/// What runs after it: one has come, one has gone, and a port has moved to another container.
pub(crate) const AFTER: Running = &[(4, 8082), (5, 8081)];

/// The container of such a number and port.
pub(crate) fn container(number: u16, port: u16) -> FakeContainer {
    FakeContainer::new(number, &format!("c{number}")).publish(port, 80)
}

/// An Engine in which these run.
pub(crate) fn engine(running: Running) -> FakeEngine {
    let engine = FakeEngine::start();
    put(&engine, running);
    engine
}

fn put(engine: &FakeEngine, running: Running) {
    for &(number, port) in running {
        engine.put(container(number, port));
    }
}

/// From now on these run, and nobody is told.
pub(crate) fn replace(engine: &FakeEngine, running: Running) {
    for id in engine.ids() {
        engine.remove(&id);
    }
    put(engine, running);
}

/// These end, and those start, with their events.
pub(crate) fn change(engine: &FakeEngine, from: Running, to: Running) {
    for &(number, port) in from {
        engine.die(&container(number, port).id);
    }
    for &(number, port) in to {
        engine.run(container(number, port));
    }
}

/// Processes of this network namespace that are neither the test nor one of `known`, with their
/// arguments.
pub(crate) fn strays(known: &[u32]) -> Vec<String> {
    let here = namespace::here();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").expect("mounted").flatten() {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let network = fs::read_link(process.path().join("ns/net")).unwrap_or_default();
        // This process is where its first thread is.
        if network == here && pid != std::process::id() && !known.contains(&pid) {
            let args = fs::read(process.path().join("cmdline")).unwrap_or_default();
            found.push(format!("{pid} {}", String::from_utf8_lossy(&args)));
        }
    }
    found
}

/// Waits until `is` holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    began.elapsed()
}

/// One run; killed when dropped.
pub(crate) struct Daemon<'s> {
    scene: &'s Scene,
    child: Child,
}

impl<'s> Daemon<'s> {
    /// Starts it, with these arguments besides; the backend is the scene's unless they name one.
    pub(crate) fn start(scene: &'s Scene, socket: &Path, args: &[&str]) -> Self {
        let mut command = scene.daemon(socket);
        let child = command.args(args).spawn();
        Self {
            scene,
            child: child.expect("the daemon"),
        }
    }

    /// The same, when the first list is applied.
    #[track_caller]
    pub(crate) fn ready(scene: &'s Scene, engine: &FakeEngine, args: &[&str]) -> Self {
        let mut daemon = Self::start(scene, engine.socket(), args);
        daemon.until("ready", |status| status.state == State::Running);
        daemon
    }

    /// The same with the priority that our unit gives it, under a supervisor that listens at
    /// `notify` and wants to hear of it every `interval`.
    #[track_caller]
    pub(crate) fn supervised(
        scene: &'s Scene,
        engine: &FakeEngine,
        notify: &Path,
        interval: Duration,
    ) -> Self {
        let mut command = scene.daemon_behind(&["nice", "-n", "-10"], engine.socket());
        let interval = interval.as_micros().to_string();
        command.env("NOTIFY_SOCKET", notify);
        let child = command.env("WATCHDOG_USEC", interval).spawn();
        let child = child.expect("the daemon");
        let mut daemon = Self { scene, child };
        daemon.until("ready", |status| status.state == State::Running);
        daemon
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn status(&self) -> Option<Status> {
        self.scene.status()
    }

    /// Waits until the status is such; how long that took.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, is: impl Fn(&Status) -> bool) -> Duration {
        let began = Instant::now();
        let mut last = None;
        loop {
            if let Some(ended) = self.child.try_wait().expect("wait") {
                panic!("{ended} before {what}: {}", self.scene.log());
            }
            last = self.status().or(last);
            if last.as_ref().is_some_and(&is) {
                return began.elapsed();
            }
            assert!(
                began.elapsed() < PATIENCE,
                "not {what}: {last:?}\n{}",
                self.scene.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until it complains in these words.
    #[track_caller]
    pub(crate) fn complains(&mut self, words: &str) -> Duration {
        self.until(words, |status| {
            let says = |trouble: &String| trouble.contains(words);
            status.state == State::Degraded && status.troubles.iter().any(says)
        })
    }

    /// Waits until it has no complaint, and its journal names these and no others.
    #[track_caller]
    pub(crate) fn serves(&mut self, running: Running) -> Duration {
        let mut expected: Vec<_> = running
            .iter()
            .map(|&(number, port)| (Some(port), container(number, port).address))
            .collect();
        expected.sort();
        let control = self.scene.control();
        self.until(&format!("serving {running:?}"), |status| {
            let Ok(Answer::Dump(rows)) = client::ask(&control, Request::Dump) else {
                return false;
            };
            let rows = rows.iter().filter(|row| row.host_port.is_some());
            let mut seen: Vec<_> = rows.map(|r| (r.host_port, r.container_addr)).collect();
            seen.sort();
            status.state == State::Running && seen == expected
        })
    }

    /// The ids of the rules in its journal that are there whatever runs, sorted.
    pub(crate) fn statics(&self) -> Vec<String> {
        let rows = match client::ask(&self.scene.control(), Request::Dump) {
            Ok(Answer::Dump(rows)) => rows,
            other => panic!("no dump: {other:?}"),
        };
        let rows = rows.into_iter().filter(|row| row.host_port.is_none());
        let mut ids: Vec<String> = rows.map(|row| row.id).collect();
        ids.sort();
        ids
    }

    /// The time that it has been on a processor so far.
    pub(crate) fn busy(&self) -> Duration {
        let path = format!("/proc/{}/schedstat", self.child.id());
        let stat = fs::read_to_string(path).expect("it runs");
        let first = stat.split(' ').next().and_then(|n| n.parse().ok());
        Duration::from_nanos(first.expect("a number"))
    }

    /// Its greatest resident memory so far, in MiB.
    pub(crate) fn most_memory(&self) -> usize {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).expect("it runs");
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kib = line.and_then(|l| l.trim().strip_suffix(" kB"));
        kib.and_then(|n| n.parse::<usize>().ok()).expect("a number") / 1024
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("it runs");
    }

    /// SIGKILL, at once.
    pub(crate) fn is_killed(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("reaped");
    }

    /// SIGTERM, after which it ends well.
    #[track_caller]
    pub(crate) fn leaves(mut self) {
        self.signal(Signal::TERM);
        let child = &mut self.child;
        eventually("its end", || child.try_wait().expect("wait").is_some());
        let status = child.wait().expect("reaped");
        assert!(status.success(), "{status}: {}", self.scene.log());
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a daemon among healthy tools and Engines has in the kernel where these run.
#[track_caller]
pub(crate) fn reference(scene: &Scene, running: Running) -> Vec<String> {
    let engine = engine(running);
    let daemon = Daemon::ready(scene, &engine, &[]);
    let ours = scene.ours();
    daemon.leaves();
    ours
}

/// Waits for a while until the kernel holds `expected` of ours; whether it does is for [`holds`].
pub(crate) fn settles(scene: &Scene, expected: &[String]) {
    let began = Instant::now();
    while scene.ours() != expected && began.elapsed() < PATIENCE / 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The kernel holds `expected` of ours, once each, and everybody else's as before; and nothing
/// is left running beside what `known` names.
#[track_caller]
pub(crate) fn holds(
    scene: &Scene,
    score: &mut Score,
    what: &str,
    expected: &[String],
    known: &[u32],
) {
    let ours = scene.ours();
    assert!(
        score.compare(expected, &ours),
        "{what}: {ours:#?} should be {expected:#?}: {}",
        scene.log()
    );
    let foreign = scene.foreign();
    assert!(
        score.foreign(&scene.foreign_before(), &foreign),
        "{what}: foreign: {foreign}: {}",
        scene.log()
    );
    // It may be looking at the kernel just now.
    eventually(what, || strays(known).is_empty());
}

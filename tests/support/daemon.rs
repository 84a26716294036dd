//! One run of the daemon in a [`Scene`]: starts it, asks it, waits for it, ends it.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use docker_nat66::control::client;
use docker_nat66::control::protocol::{Answer, Request};
use docker_nat66::control::row::Row;
use docker_nat66::control::status::{DaemonState, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::fake_engine::FakeEngine;
use super::process;
use super::scene::Scene;
use super::wait::PATIENCE;

/// Pause between two checks of a condition.
const PAUSE: Duration = Duration::from_millis(5);

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself, when asked to.
    Left,
    /// By SIGKILL.
    Killed,
}

/// The arguments of a daemon that leaves its rules to a successor, or of one that does not.
pub(crate) fn keeps(keep: bool) -> &'static [&'static str] {
    match keep {
        true => &["--on-exit", "keep"],
        false => &[],
    }
}

/// A running daemon; dropping this kills it.
pub(crate) struct Daemon<'s> {
    scene: &'s Scene,
    child: Child,
}

impl<'s> Daemon<'s> {
    /// Starts it with these arguments besides the scene's.
    pub(crate) fn start(scene: &'s Scene, engine: &FakeEngine, args: &[&str]) -> Self {
        let mut command = scene.daemon(engine.socket());
        command.args(args);
        Self::spawn(scene, command)
    }

    /// The same, and waits until Docker's first list is applied.
    #[track_caller]
    pub(crate) fn ready(scene: &'s Scene, engine: &FakeEngine, args: &[&str]) -> Self {
        let mut daemon = Self::start(scene, engine, args);
        assert!(daemon.is_ready(), "killed: {}", scene.log());
        daemon
    }

    /// Starts it with a command that the scene made.
    pub(crate) fn spawn(scene: &'s Scene, mut command: Command) -> Self {
        let child = command.spawn().expect("the daemon");
        Self { scene, child }
    }

    /// The same, with an empty log.
    pub(crate) fn logged(scene: &'s Scene, command: Command) -> Self {
        scene.forget_log();
        Self::spawn(scene, command)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn status(&self) -> Option<Status> {
        self.scene.status()
    }

    pub(crate) fn rows(&self) -> Option<Vec<Row>> {
        match client::ask(&self.scene.control(), Request::Dump) {
            Ok(Answer::Dump(rows)) => Some(rows),
            _ => None,
        }
    }

    /// The ids in the journal, sorted, once each.
    pub(crate) fn journal(&self) -> Vec<String> {
        let Some(rows) = self.rows() else {
            panic!("no dump: {}", self.scene.log());
        };
        assert!(rows.iter().all(|row| row.state == "applied"), "{rows:?}");
        let mut ids: Vec<String> = rows.into_iter().map(|row| row.id).collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// Waits until the condition holds; `false` if the daemon was killed first. Any other end is a
    /// failure.
    #[track_caller]
    fn holds(&mut self, what: &str, mut is: impl FnMut(&Self) -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while !is(self) {
            let log = || self.scene.log();
            if let Some(ended) = self.ends_within(PAUSE) {
                assert_eq!(ended.signal(), Some(9), "{ended} before {what}: {}", log());
                return false;
            }
            assert!(
                Instant::now() < deadline,
                "not {what}: {:?}\n{:#?}\n{}",
                self.status(),
                self.rows(),
                self.scene.log()
            );
        }
        true
    }

    /// Waits until its status and its rules satisfy `is`; `false` if it was killed first.
    #[track_caller]
    pub(crate) fn shows(&mut self, what: &str, is: impl Fn(&Status, &[Row]) -> bool) -> bool {
        self.holds(what, |daemon| {
            let said = daemon.status().zip(daemon.rows());
            said.is_some_and(|(status, rows)| is(&status, &rows))
        })
    }

    #[track_caller]
    pub(crate) fn is_ready(&mut self) -> bool {
        self.until_killed("ready", |status| status.state == DaemonState::Running)
    }

    #[track_caller]
    fn until_killed(&mut self, what: &str, is: impl Fn(&Status) -> bool) -> bool {
        self.holds(what, |daemon| daemon.status().as_ref().is_some_and(&is))
    }

    /// Waits until its status satisfies `is`, and returns how long that took.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, is: impl Fn(&Status) -> bool) -> Duration {
        let began = Instant::now();
        assert!(self.until_killed(what, is), "killed before {what}");
        began.elapsed()
    }

    /// Waits until the condition holds.
    #[track_caller]
    pub(crate) fn waits(&mut self, what: &str, mut is: impl FnMut(&Scene) -> bool) {
        assert!(
            self.holds(what, |daemon| is(daemon.scene)),
            "killed before {what}"
        );
    }

    /// Waits until its log contains these words.
    #[track_caller]
    pub(crate) fn says(&mut self, words: &str) {
        self.waits(words, |scene| scene.log().contains(words));
    }

    /// Waits until it reports itself degraded in these words.
    #[track_caller]
    pub(crate) fn warns_of(&mut self, words: &str) -> Duration {
        self.until(words, |status| {
            let says = |trouble: &String| trouble.contains(words);
            status.state == DaemonState::Degraded && status.troubles.iter().any(says)
        })
    }

    /// Waits until it has no more than so many open descriptors. It may come to have fewer: it can
    /// still be reading something when it has just begun.
    #[track_caller]
    pub(crate) fn rests_at(&mut self, descriptors: usize) {
        let open = format!("/proc/{}/fd", self.id());
        let count = || fs::read_dir(&open).map_or(0, Iterator::count);
        self.waits("the descriptors to be closed", |_| count() <= descriptors);
    }

    /// The processor time it has used so far.
    pub(crate) fn busy(&self) -> Duration {
        let path = format!("/proc/{}/schedstat", self.id());
        let stat = fs::read_to_string(path).expect("it runs");
        let first = stat.split(' ').next().and_then(|n| n.parse().ok());
        Duration::from_nanos(first.expect("a number"))
    }

    /// Its greatest resident memory so far, in MiB.
    pub(crate) fn most_memory(&self) -> u64 {
        process::kib(self.id(), "VmHWM") / 1024
    }

    /// Whether it handles SIGHUP by now.
    pub(crate) fn heeds_hangup(&self) -> bool {
        process::heeds_hangup(self.id())
    }

    /// Sends a signal, if it is still there.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Its exit status, if it ends within `limit`.
    pub(crate) fn ends_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // There is no process any more if somebody has waited for it.
            if let Ok(pidfd) = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()) {
                let left = Timespec::try_from(left).expect("a moment");
                poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)).expect("poll");
            }
            let ended = self.child.try_wait().expect("wait");
            if ended.is_some() || Instant::now() >= deadline {
                return ended;
            }
            // A tracer must wait for it before we can.
            std::thread::park_timeout(PAUSE);
        }
    }

    /// Kills it; it may have left by itself before.
    #[track_caller]
    pub(crate) fn kill(&mut self) -> End {
        self.signal(Signal::KILL);
        self.end()
    }

    /// Asks it to leave, and waits until it has.
    #[track_caller]
    pub(crate) fn leaves(&mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.end(), End::Left, "{}", self.scene.log());
    }

    /// Waits for its end, and returns its exit code.
    #[track_caller]
    pub(crate) fn code(&mut self) -> Option<i32> {
        let ended = self.ends_within(PATIENCE);
        ended.expect("it ends").code()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn end(&mut self) -> End {
        let ended = self.ends_within(PATIENCE);
        let Some(status) = ended else {
            panic!("it does not end: {}", self.scene.log());
        };
        if status.signal() == Some(9) {
            return End::Killed;
        }
        assert!(status.success(), "{status}: {}", self.scene.log());
        End::Left
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        process::kill(&mut self.child);
    }
}

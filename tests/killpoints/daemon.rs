//! One run of the daemon, and what it says of itself.

use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::{Duration, Instant};

use docker_nat66::control::client;
use docker_nat66::control::protocol::{Answer, Request};
use docker_nat66::control::row::Row;
use docker_nat66::control::status::{State, Status};
use docker_nat66::sys::failpoint;
use rustix::process::{Pid, Signal, kill_process};

use crate::fake_engine::FakeEngine;
use crate::scene::Scene;

/// How long anything that is waited for may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pause between two looks at it.
const PAUSE: Duration = Duration::from_millis(5);

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself, as asked.
    Left,
    /// By the kill.
    Killed,
}

/// What the daemon is told besides where it lives.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Orders {
    /// The step at which it kills itself.
    pub(crate) kill_at: Option<usize>,
    /// Whether it leaves its rules to a successor.
    pub(crate) keep: bool,
}

/// It is killed when dropped.
pub(crate) struct Daemon<'s> {
    scene: &'s Scene,
    child: Child,
}

impl<'s> Daemon<'s> {
    pub(crate) fn start(scene: &'s Scene, engine: &FakeEngine, orders: Orders) -> Self {
        let mut command = scene.daemon(engine.socket());
        if let Some(at) = orders.kill_at {
            command.env(failpoint::AT, at.to_string());
        }
        if orders.keep {
            command.args(["--on-exit", "keep"]);
        }
        let child = command.spawn().expect("the daemon");
        Self { scene, child }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until what it says of itself and of its rules is so; `false` if it was killed before.
    pub(crate) fn shows(&mut self, what: &str, is: impl Fn(&Status, &[Row]) -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                assert_eq!(status.signal(), Some(9), "{status}: {}", self.scene.log());
                return false;
            }
            if let Some(status) = self.status()
                && let Some(rows) = self.rows()
                && is(&status, &rows)
            {
                return true;
            }
            assert!(
                Instant::now() < deadline,
                "not {what}: {:?}\n{:#?}\n{}",
                self.status(),
                self.rows(),
                self.scene.log()
            );
            std::thread::sleep(PAUSE);
        }
    }

    pub(crate) fn is_ready(&mut self) -> bool {
        self.shows("ready", |status, _| status.state == State::Running)
    }

    pub(crate) fn status(&self) -> Option<Status> {
        self.scene.status()
    }

    fn rows(&self) -> Option<Vec<Row>> {
        match client::ask(&self.scene.control(), Request::Dump) {
            Ok(Answer::Dump(rows)) => Some(rows),
            _ => None,
        }
    }

    /// The ids in the journal, sorted.
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

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let _ = kill_process(pid.expect("a process id"), signal);
    }

    /// Whether a SIGHUP does not end it (`SigCgt` of proc_pid_status(5)).
    pub(crate) fn heeds_hangup(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()));
        let status = status.unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.is_some_and(|mask| mask & 1 != 0)
    }

    /// Kills it, or finds that it has left.
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

    /// Waits for the end of one that does not start; its exit code.
    pub(crate) fn code(&mut self) -> Option<i32> {
        self.child.wait().expect("wait").code()
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> End {
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
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

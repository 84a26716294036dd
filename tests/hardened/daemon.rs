//! The daemon as a process: how it is started, asked, and waited for.

use std::fs::OpenOptions;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use docker_nat66::control::client;
use docker_nat66::control::protocol::{Answer, Request};
use docker_nat66::control::status::Status;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::fake_engine::FakeEngine;
use crate::scene::Scene;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_docker-nat66");

/// How long anything may take that takes milliseconds on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running daemon; killed when dropped.
pub(crate) struct Daemon<'s> {
    scene: &'s Scene,
    child: Child,
}

/// What the daemon says of itself.
pub(crate) fn status(scene: &Scene) -> Option<Status> {
    match client::ask(&scene.control(), Request::Status) {
        Ok(Answer::Status(status)) => Some(*status),
        _ => None,
    }
}

/// The daemon's command line, behind `wrapper`, with nothing in its environment.
pub(crate) fn command(
    scene: &Scene,
    engine: &FakeEngine,
    wrapper: &[&str],
    args: &[&str],
) -> Command {
    let mut words = wrapper.iter().chain(&[PROGRAM]);
    let mut command = Command::new(words.next().expect("a program"));
    command
        .args(words)
        .args(["run", "--dev", "eth0", "--prefix", "fdfd:5898:4917:1::/64"])
        .args(["--backend", scene.backend().name(), "--hairpin", "off"])
        .arg("--state-dir")
        .arg(scene.state_dir())
        .arg("--control")
        .arg(scene.control())
        .arg("--docker-host")
        .arg(format!("unix://{}", engine.socket().display()))
        .args(args)
        .env_clear();
    command
}

impl<'s> Daemon<'s> {
    /// Starts it; what it says goes to the scene's log, which begins anew.
    pub(crate) fn start(scene: &'s Scene, mut command: Command) -> Self {
        let _ = std::fs::remove_file(scene.log_path());
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(scene.log_path());
        let log = log.expect("a log");
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("another descriptor"))
            .stderr(log);
        let child = command.spawn().expect("the daemon");
        Self { scene, child }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until its log has these words.
    #[track_caller]
    pub(crate) fn says(&mut self, words: &str) {
        self.waits(words, |scene| scene.log().contains(words));
    }

    /// Waits until the condition holds; it must not end before.
    #[track_caller]
    pub(crate) fn waits(&mut self, what: &str, mut holds: impl FnMut(&Scene) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self.scene) {
            let ended = self.ends_within(Duration::from_millis(10));
            let log = || self.scene.log();
            assert!(ended.is_none(), "{ended:?} before {what:?}: {}", log());
            assert!(Instant::now() < deadline, "not {what:?}: {}", log());
        }
    }

    /// Its end, if it comes within this.
    pub(crate) fn ends_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let pidfd = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty());
        // It may have been waited for.
        if let Ok(pidfd) = pidfd {
            let limit = Timespec::try_from(limit).expect("a moment");
            poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).expect("poll");
        }
        self.child.try_wait().expect("wait")
    }

    /// Waits until it has as many descriptors again.
    #[track_caller]
    pub(crate) fn rests_at(&mut self, descriptors: usize) {
        let open = format!("/proc/{}/fd", self.id());
        let count = || std::fs::read_dir(&open).map_or(0, Iterator::count);
        self.waits("the descriptors to be closed", |_| count() == descriptors);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// SIGTERM, after which it ends with exit code 0.
    #[track_caller]
    pub(crate) fn leaves(mut self) {
        self.signal(Signal::TERM);
        let ended = self.ends_within(PATIENCE);
        let log = || self.scene.log();
        assert!(ended.is_some_and(|e| e.success()), "{ended:?}: {}", log());
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! The daemon as a process: how it is started, and waited for.

use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::scene::Scene;

/// How long anything may take that takes milliseconds on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running daemon; killed when dropped.
pub(crate) struct Daemon<'s> {
    scene: &'s Scene,
    child: Child,
}

impl<'s> Daemon<'s> {
    /// Starts it by the scene's command; the log begins anew.
    pub(crate) fn start(scene: &'s Scene, mut command: Command) -> Self {
        scene.forget_log();
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

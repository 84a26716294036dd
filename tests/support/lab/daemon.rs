//! The program under test, on the lab's host.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Output};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::PROGRAM;
use crate::support::backend;
use crate::support::lab::Lab;
use crate::support::process::{self, kill, signal, wait};
use crate::support::wait::{SOON, eventually};

/// The daemon's state directory, as the host sees it: on a real disk, and kept when a test fails.
/// The daemon makes it.
pub(crate) const STATE_DIR: &str = "/run/lab/home/state";

/// How long the daemon may take to leave: removing all rules takes milliseconds.
const LEAVE: Duration = Duration::from_secs(15);

/// One run of the daemon; it is killed when dropped.
#[derive(Debug)]
pub(crate) struct Daemon<'l> {
    lab: &'l Lab,
    child: Child,
    log: PathBuf,
}

impl<'l> Daemon<'l> {
    /// Starts the daemon with `args`, the lab's state directory, and the backend that the tests
    /// run on unless `args` name one; all else has its default.
    pub(crate) fn start(lab: &'l Lab, args: &[&str]) -> Self {
        Self::start_by(lab, &[], args)
    }

    /// The same, with `wrapper` to execute it: a command that takes another as its last arguments,
    /// and becomes it.
    pub(crate) fn start_by(lab: &'l Lab, wrapper: &[&str], args: &[&str]) -> Self {
        let own = arguments(args, STATE_DIR);
        let all = [wrapper, &[PROGRAM], &own].concat();
        let log = lab.log("docker-nat66");
        Self {
            lab,
            child: lab.host().spawn(all[0], &all[1..], &log),
            log,
        }
    }

    /// Starts it and waits until it says that it is ready.
    #[track_caller]
    pub(crate) fn ready(lab: &'l Lab, args: &[&str]) -> Self {
        let mut daemon = Self::start(lab, args);
        daemon.says_where("ready", |line| {
            line.split([' ', ',', ':', '"']).any(|w| w == "ready")
        });
        daemon
    }

    /// All that it has written.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(&self.log).expect("read the daemon's log");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits for a line that contains `words`, and returns it.
    #[track_caller]
    pub(crate) fn says(&mut self, words: &str) -> String {
        self.says_where(words, |line| line.contains(words))
    }

    /// Waits for a line that contains all of `words`, and returns it.
    #[track_caller]
    pub(crate) fn says_all(&mut self, words: &[String]) -> String {
        let all = |line: &str| words.iter().all(|words| line.contains(words));
        self.says_where(&words.join(" … "), all)
    }

    #[track_caller]
    fn says_where(&mut self, words: &str, is: impl Fn(&str) -> bool) -> String {
        eventually(SOON, &format!("the daemon to say {words:?}"), || {
            let ended = self.child.try_wait().expect("wait");
            let log = self.log();
            match log.lines().find(|line| is(line)) {
                Some(line) => Ok(line.to_owned()),
                None if ended.is_some() => panic!("{ended:?} before it said {words:?}:\n{log}"),
                None => Err(log),
            }
        })
    }

    /// Its process id, as the lab's host sees it.
    pub(crate) fn pid(&self) -> String {
        let ids = process::status(self.child.id(), "NSpid");
        let ids = ids.expect("the daemon is a process");
        let innermost = ids.split_whitespace().last();
        innermost.expect("a process id").to_owned()
    }

    /// Its process id, as this machine sees it.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, at once.
    pub(crate) fn sigkill(mut self) {
        kill(&mut self.child);
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, what: Signal) {
        signal(&self.child, what);
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub(crate) fn ended(mut self) -> ExitStatus {
        wait(&mut self.child, "the daemon", LEAVE)
    }

    /// SIGTERM, which it must answer with exit code 0.
    #[track_caller]
    pub(crate) fn leaves(self) {
        self.signal(Signal::TERM);
        let log = self.log.clone();
        let status = self.ended();
        assert!(status.success(), "{status}, see {}", log.display());
    }

    /// Runs another command of the program (`dump`, `status`) against this daemon.
    pub(crate) fn command(&self, args: &[&str]) -> Output {
        command(self.lab, args)
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// The daemon's arguments: what a test says of the backend counts.
pub(crate) fn arguments<'a>(args: &[&'a str], state_dir: &'a str) -> Vec<&'a str> {
    let mut all = [args, &["--state-dir", state_dir]].concat();
    if !args.contains(&"--backend") {
        all.extend(["--backend", backend::in_use().name()]);
    }
    all
}

/// Runs a command of the program (`dump`, `cleanup`) with the lab's state directory.
pub(crate) fn command(lab: &Lab, args: &[&str]) -> Output {
    let state = ["--state-dir", STATE_DIR];
    lab.host().output(&[&[PROGRAM], args, &state].concat())
}

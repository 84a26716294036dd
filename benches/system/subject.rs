//! The daemons that are measured: ours, and perhaps another.

use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, str};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::lab::Lab;
use crate::support::process::{kib, kill, signal, wait};
use crate::support::wait::{eventually, let_pass};

/// How long any step may take before it counts as never.
pub(crate) const NEVER: Duration = Duration::from_secs(120);

/// Free memory goes back within ten seconds of a large change.
const SETTLES: Duration = Duration::from_secs(12);

/// A daemon that can be run.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    command: Vec<String>,
    /// Whether it takes our arguments and answers our commands.
    pub(crate) is_like_ours: bool,
    state_dir: &'static str,
}

impl Subject {
    /// A build of this program.
    pub(crate) fn own(program: &str) -> Self {
        Self {
            name: "ours",
            command: vec![program.to_owned()],
            is_like_ours: true,
            state_dir: "/run/lab/home/own",
        }
    }

    /// Another daemon, with its arguments; or without any another build of this program, which says so itself.
    pub(crate) fn peer(command: &str) -> Self {
        let command: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        Self {
            name: "the peer",
            is_like_ours: command.len() == 1 && is_docker_nat66(&command[0]),
            command,
            state_dir: "/run/lab/home/peer",
        }
    }

    pub(crate) fn program(&self) -> &str {
        &self.command[0]
    }

    /// Starts it with the priority that our unit gives.
    pub(crate) fn start<'l>(&'l self, lab: &'l Lab, backend: &str, extra: &[&str]) -> Running<'l> {
        let mut args = vec!["-n", unit_nice()];
        args.extend(self.command.iter().map(String::as_str));
        if self.is_like_ours {
            args.extend(["--dev", "eth0", "--prefix", "fdfd:5898:4917:1::/64"]);
            args.extend(["--backend", backend, "--log-format", "json"]);
            args.extend(["--state-dir", self.state_dir]);
            args.extend(extra);
        }
        let log = lab.log("daemon");
        let started = since_epoch();
        Running {
            child: lab.host().spawn("nice", &args, &log),
            subject: self,
            lab,
            log,
            started,
        }
    }
}

/// Whether a program calls itself so.
fn is_docker_nat66(program: &str) -> bool {
    // Another daemon might take the option for none, and run.
    let said = Command::new("timeout")
        .args(["5", program, "--version"])
        .output();
    said.is_ok_and(|said| said.stdout.starts_with(b"docker-nat66 "))
}

/// What the unit says of the daemon's priority.
pub(crate) fn unit_nice() -> &'static str {
    let unit = include_str!("../../src/assets/docker-nat66.service");
    let nice = unit.lines().find_map(|line| line.strip_prefix("Nice="));
    nice.expect("it has one")
}

/// One run of it; killed when dropped.
pub(crate) struct Running<'l> {
    child: Child,
    subject: &'l Subject,
    lab: &'l Lab,
    log: PathBuf,
    started: Duration,
}

impl Running<'_> {
    /// Waits until it is ready, and returns how long that took since its exec.
    pub(crate) fn ready(&mut self) -> Duration {
        if !self.subject.is_like_ours {
            // It does not say.
            let_pass(Duration::from_secs(3));
            return Duration::ZERO;
        }
        let what = format!("{} to say that it is ready", self.subject.name);
        let ready = eventually(NEVER, &what, || {
            let ended = self.child.try_wait().expect("wait");
            assert!(ended.is_none(), "{ended:?}: {}", self.log());
            self.said_ready().ok_or_else(|| self.log())
        });
        ready.saturating_sub(self.started)
    }

    /// The time of the line of its log that says so.
    fn said_ready(&self) -> Option<Duration> {
        let log = self.log();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let mut ready = lines.filter(|line: &Value| line["msg"] == "ready");
        let time = ready.next()?["ts"].as_str()?.to_owned();
        let time = chrono::DateTime::parse_from_rfc3339(&time).expect("a time");
        let nanos = time.timestamp_nanos_opt().expect("in our time");
        Some(Duration::from_nanos(nanos.unsigned_abs()))
    }

    fn log(&self) -> String {
        let log = fs::read(&self.log).expect("read the log");
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Runs a command of it (`status --json`).
    pub(crate) fn command(&self, args: &[&str]) -> Output {
        let program = self.subject.program();
        let state = ["--state-dir", self.subject.state_dir];
        self.lab.host().output(&[&[program], args, &state].concat())
    }

    /// Waits until so many ports are open.
    pub(crate) fn opens(&self, ports: usize) {
        let what = format!("{ports} open ports of {}", self.subject.name);
        eventually(NEVER, &what, || {
            let output = self.command(&["status", "--json"]);
            let status: Value =
                serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
            let is_there = status["forwards"] == ports && status["state"] != "starting";
            is_there
                .then_some(())
                .ok_or_else(|| status["forwards"].to_string())
        });
    }

    /// Its memory once all has settled, in MiB.
    pub(crate) fn memory(&self) -> f64 {
        let_pass(SETTLES);
        kib(self.child.id(), "RssAnon") as f64 / 1024.0
    }

    /// The processor's time that its threads have used.
    pub(crate) fn cpu(&self) -> Duration {
        let each = self.threads("schedstat").into_iter().map(|text| {
            let first = text.split(' ').next().and_then(|ns| ns.parse().ok());
            first.unwrap_or(0)
        });
        Duration::from_nanos(each.sum())
    }

    /// How often its threads have gone to sleep.
    pub(crate) fn sleeps(&self) -> u64 {
        let each = self.threads("status").into_iter().map(|text| {
            let mut lines = text.lines();
            let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            count
                .and_then(|count| count.trim().parse::<u64>().ok())
                .unwrap_or(0)
        });
        each.sum()
    }

    fn threads(&self, file: &str) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs");
        let text = |task: fs::DirEntry| fs::read_to_string(task.path().join(file)).ok();
        tasks.flatten().filter_map(text).collect()
    }

    pub(crate) fn sigkill(mut self) {
        kill(&mut self.child);
    }

    /// SIGTERM, and its end.
    pub(crate) fn leaves(mut self) {
        signal(&self.child, Signal::TERM);
        wait(&mut self.child, self.subject.name, NEVER);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

pub(crate) fn since_epoch() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("a clock that is set")
}

//! Another tool that changes rules at a pace, many commits in one process: what starts a process
//! for each is not fast enough on a busy machine.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::toolbox::REAL;

/// Time from one commit to the next, where the machine keeps up; 100 a second are wanted.
const EVERY: Duration = Duration::from_millis(8);

/// Commits of one process, after which what is put back is read anew.
const COMMITS: usize = 24;

/// Printed by ip6tables-restore after each commit.
const DONE: &str = "# done\n";

/// What reads commits from a pipe.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Means {
    /// ip6tables-restore of this variant; the legacy one takes its lock for each commit anew.
    Restore(&'static str),
    /// The legacy one, with a lock of its own.
    RestoreBesideLock,
    /// nft, which takes lines.
    Nft,
}

impl Means {
    /// Not the script in the place of the tools.
    fn tool(self) -> String {
        let variant = match self {
            Self::Restore(variant) => variant,
            Self::RestoreBesideLock => "legacy",
            Self::Nft => return "nft".to_owned(),
        };
        format!("{REAL}/xtables-{variant}-multi")
    }

    fn start(self, args: &[&str]) -> Running {
        let said = tempfile::tempfile().expect("a file");
        let mut command = Command::new(self.tool());
        match self {
            Self::Restore(_) | Self::RestoreBesideLock => {
                command.args(["ip6tables-restore", "--verbose"])
            }
            // Some of the commands are refused.
            Self::Nft => command.arg("--interactive").stderr(Stdio::null()),
        };
        if let Self::RestoreBesideLock = self {
            command.env("XTABLES_LOCKFILE", "/run/another.lock");
        }
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(said.try_clone().expect("another descriptor"));
        let mut child = command.spawn().expect("the tool");
        let stdin = child.stdin.take();
        Running {
            means: self,
            child,
            stdin,
            said,
            handed: 0,
        }
    }
}

struct Running {
    means: Means,
    child: Child,
    stdin: Option<ChildStdin>,
    said: File,
    handed: usize,
}

impl Running {
    /// Hands it a commit; `false` if it has ended.
    fn make(&mut self, commit: &str) -> bool {
        self.handed += 1;
        let mut stdin = self.stdin.as_ref().expect("it runs");
        stdin
            .write_all(format!("{commit}{DONE}").as_bytes())
            .is_ok()
    }

    /// Lets it come to its end; how many commits it has made, and whether all went well.
    fn ends(mut self) -> (usize, bool) {
        drop(self.stdin.take());
        let well = self.child.wait().expect("reaped").success();
        if let Means::Nft = self.means {
            // It prints no comments, and goes on after what has failed.
            assert!(well, "nft has broken off");
            return (self.handed, well);
        }
        let mut said = String::new();
        self.said.rewind().expect("a file");
        self.said.read_to_string(&mut said).expect("text");
        (said.matches(DONE).count(), well)
    }
}

/// What is done again and again.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Commits {
    /// These in turn; after the last all is as before the first.
    InTurn(Means, &'static [&'static str]),
    /// Each table is emptied and put back as it was a moment ago, ours as well. The kernel does
    /// not let nft's variant put rules with extensions back twice in one grace period of RCU, which
    /// takes some 10 ms; but it lets it empty the table meanwhile.
    WholeTables(Means),
}

impl Commits {
    fn start(self) -> Running {
        match self {
            Self::InTurn(means @ Means::Nft, _) | Self::WholeTables(means) => means.start(&[]),
            Self::InTurn(means, _) => means.start(&["--noflush"]),
        }
    }

    /// What is done until all is as it is now.
    fn round(self) -> Vec<String> {
        match self {
            Self::InTurn(_, commits) => commits.iter().map(|c| (*c).to_owned()).collect(),
            Self::WholeTables(means) => {
                let saved = Command::new(means.tool()).arg("ip6tables-save").output();
                let saved = String::from_utf8(saved.expect("the tool").stdout).expect("text");
                let tables = saved.split_inclusive("COMMIT\n");
                let tables = tables.filter(|text| text.contains("COMMIT"));
                let both = |whole: &str| {
                    let lines = whole.split_inclusive('\n');
                    let empty = lines.filter(|line| !line.starts_with("-A")).collect();
                    [empty, whole.to_owned()]
                };
                tables.flat_map(both).collect()
            }
        }
    }
}

/// Rewrites until [`Self::ends`] is called.
pub(crate) struct Rewriter {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Pace>,
}

/// Tools that fail because others commit beside them are some in a second.
const MOST_FAILURES: usize = 2000;

/// How often it was done.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    commits: usize,
    /// Tools that ended with an error, and were started again.
    failures: usize,
    took: Duration,
}

impl Pace {
    pub(crate) fn add(&mut self, other: &Self) {
        self.commits += other.commits;
        self.failures += other.failures;
        self.took += other.took;
    }

    /// Commits a second.
    ///
    /// # Panics
    /// There was none.
    pub(crate) fn rate(&self) -> f64 {
        assert!(self.commits > 0, "{self:?}");
        self.commits as f64 / self.took.as_secs_f64()
    }
}

impl Rewriter {
    /// In the namespaces of the caller.
    pub(crate) fn start(commits: Commits) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || go_on(commits, &stopped));
        Self { stop, thread }
    }

    /// When this returns nothing is changed any more.
    pub(crate) fn ends(self) -> Pace {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

fn go_on(commits: Commits, stopped: &AtomicBool) -> Pace {
    let began = Instant::now();
    let mut pace = Pace::default();
    let mut due = began;
    while !stopped.load(Ordering::Relaxed) {
        let round = commits.round();
        let rounds = COMMITS.div_ceil(round.len().max(1));
        // What has failed in the middle is to be no accident at the end.
        let mut well = false;
        while !well {
            let mut running = commits.start();
            for commit in std::iter::repeat_n(&round, rounds).flatten() {
                thread::park_timeout(due.saturating_duration_since(Instant::now()));
                if !running.make(commit) {
                    break;
                }
                due += EVERY;
            }
            let (done, went) = running.ends();
            well = went;
            pace.commits += done;
            pace.failures += usize::from(!well);
            assert!(pace.failures < MOST_FAILURES, "{commits:?}: {pace:?}");
        }
    }
    pace.took = began.elapsed();
    pace
}

//! What a change costs, in counts that no load of the machine alters: requests to Docker, programs
//! started, writes to the disk; and how often an idle daemon wakes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::running::{container, engine};
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::fake_engine::{FakeContainer, FakeEngine};
use crate::support::namespace;
use crate::support::process::signal;
use crate::support::scene::Scene;
use crate::support::wait::{SOON, eventually, let_pass, until};

/// Ports of the container that starts. The journal is rebuilt soon after more than 1,000 rules have gone
/// (`MOST_GONE` in `src/journal/store/shrink.rs`), which would be counted with the change.
const PORTS: u16 = 990;

/// Up to so many bytes a journal is not rebuilt for its size (`FLOOR`, in the same place).
const NEVER_REBUILT: u64 = 4 * 1024 * 1024;

/// How often at most the database waits for a part of its log: the requests of a change write 6 or 7
/// parts. One more for each 250 ports would be 11, one for each port about a thousand.
const RANGE_SYNCS: usize = 10;

/// How many bytes at most the database writes, at the start and at the end: the intents take up to
/// 950 KB, and each record that is written once more about 1 KB.
const WRITTEN: [usize; 2] = [1_100_000, 250_000];

/// Watches the system calls of a daemon that are counted here.
struct Watched {
    strace: Child,
    output: PathBuf,
}

impl Watched {
    fn daemon(daemon: &Daemon<'_>, output: PathBuf) -> Self {
        let strace = Command::new("strace")
            .args([
                "-f",
                "-qq",
                "-e",
                "trace=execve,fsync,fdatasync,sync_file_range,pwrite64",
            ])
            .args(["-e", "signal=none", "-o"])
            .arg(&output)
            .args(["-p", &daemon.id().to_string()])
            .stderr(Stdio::null())
            .spawn()
            .expect("strace is installed");
        let watched = Self { strace, output };
        // It has attached once it traces each thread.
        let tasks = format!("/proc/{}/task", daemon.id());
        let tracer = format!("TracerPid:\t{}\n", watched.strace.id());
        until("strace to attach", || {
            let tasks = fs::read_dir(&tasks).expect("it runs").flatten();
            let mut status = tasks.filter_map(|t| fs::read_to_string(t.path().join("status")).ok());
            status.all(|status| status.contains(&tracer))
        });
        watched
    }

    /// Ends, and returns the calls.
    fn calls(mut self) -> Calls {
        signal(&self.strace, rustix::process::Signal::TERM);
        self.strace.wait().expect("waits");
        Calls(fs::read_to_string(&self.output).expect("written"))
    }
}

/// The system calls of a daemon, one in each line.
struct Calls(String);

impl Calls {
    /// How often a call was made.
    fn count(&self, name: &str) -> usize {
        let call = format!(" {name}(");
        self.0.lines().filter(|line| line.contains(&call)).count()
    }

    /// How many bytes the database has written. A call that another thread has interrupted stands in two
    /// lines.
    fn written(&self) -> usize {
        let writes = self.0.lines().filter(|line| line.contains("pwrite64"));
        let bytes = |line: &str| line.rsplit_once("= ")?.1.parse::<usize>().ok();
        writes.filter_map(bytes).sum()
    }
}

fn many() -> FakeContainer {
    let ports = 10_000..10_000 + PORTS;
    ports.fold(container(7, 9_000), |it, port| it.publish(port, port))
}

fn opens(scene: &Scene, ports: usize) {
    eventually(SOON, &format!("{ports} open ports"), || {
        let open = scene.status().map(|status| status.forwards);
        (open == Some(ports)).then_some(()).ok_or(open)
    });
}

/// The bytes of all files below a directory.
fn bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).expect("readable").flatten();
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes(&entry.path()),
        found => found.map_or(0, |found| found.len()),
    };
    entries.map(of).sum()
}

/// What a change has taken.
#[derive(Debug, PartialEq, Eq)]
struct Taken {
    /// Questions to the Engine about one container.
    inspects: usize,
    /// Programs started.
    programs: usize,
    /// Waits for the disk, until it has everything.
    syncs: usize,
    /// Waits of the database, until the disk has a part of its log.
    range_syncs: usize,
    /// Bytes that the database has written.
    written: usize,
}

/// Starts a container and ends it, and counts.
fn counted(scene: &Scene, engine: &FakeEngine, daemon: &Daemon<'_>) -> [Taken; 2] {
    let steps = [true, false];
    steps.map(|starts| {
        let asked = engine.inspects();
        let watched = Watched::daemon(daemon, scene.state_dir().join("../calls"));
        let container = many();
        let id = container.id.clone();
        match starts {
            true => engine.run(container),
            false => engine.die(&id),
        }
        opens(scene, if starts { usize::from(PORTS) + 2 } else { 1 });
        // What belongs to the change comes at once.
        let_pass(Duration::from_millis(300));
        let calls = watched.calls();
        let syncs = calls.count("fsync") + calls.count("fdatasync");
        let journal = bytes(&scene.state_dir().join("journal"));
        assert!(journal <= NEVER_REBUILT, "{journal} bytes");
        Taken {
            inspects: engine.inspects() - asked,
            programs: calls.count("execve"),
            syncs,
            range_syncs: calls.count("sync_file_range"),
            written: calls.written(),
        }
    })
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn a_change_takes_one_question_one_sync_and_no_more_tools_than_it_must() {
    // Of ip6tables the change alone: the kernel reports that nobody else has changed the tables.
    for (backend, tools) in [(Backend::Nftables, 0), (Backend::Ip6tables, 1)] {
        namespace::fresh(|| {
            let scene = Scene::new(backend);
            let engine = engine(&[(2, 8080)]);
            let mut daemon = Daemon::ready(&scene, &engine, &[]);
            opens(&scene, 1);
            // One for the first list, and one once it is ready: another begins only for a reason.
            until("two resyncs", || {
                scene.status().is_some_and(|it| it.resyncs >= 2)
            });
            let [start, end] = counted(&scene, &engine, &daemon);
            let [at_start, at_end] = WRITTEN;
            for (taken, inspects, syncs, written) in
                [(&start, 1, 1, at_start), (&end, 0, 0, at_end)]
            {
                let expected = (inspects, tools, syncs);
                let counted = (taken.inspects, taken.programs, taken.syncs);
                assert_eq!(counted, expected, "{backend:?}: {}", scene.log());
                assert!(taken.range_syncs <= RANGE_SYNCS, "{backend:?}: {taken:?}");
                assert!(taken.written <= written, "{backend:?}: {taken:?}");
            }
            daemon.leaves();
        });
    }
}

/// How often each thread of a process has gone to sleep by itself.
fn sleeps(pid: u32) -> BTreeMap<String, u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let of = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let mut lines = status.lines();
        let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        let thread = task.file_name().into_string().ok()?;
        Some((thread, count.trim().parse::<u64>().ok()?))
    };
    tasks.flatten().filter_map(of).collect()
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn an_idle_daemon_sleeps() {
    namespace::fresh(|| {
        let scene = Scene::new(Backend::Nftables);
        let engine = engine(&[(2, 8080)]);
        let mut daemon = Daemon::ready(&scene, &engine, &[]);
        opens(&scene, 1);
        // Once in ten seconds it asks the Engine and its own parts whether they are alive; seven idle
        // threads of the database would wake once a second.
        eventually(SOON, "three quiet seconds", || {
            let before = sleeps(daemon.id());
            let_pass(Duration::from_secs(3));
            // A thread may have ended, or begun.
            let after = sleeps(daemon.id());
            let both = before
                .iter()
                .filter_map(|(thread, n)| Some((n, after.get(thread)?)));
            let slept: u64 = both.map(|(before, after)| after - before).sum();
            (slept <= 3).then_some(()).ok_or(slept)
        });
        daemon.leaves();
    });
}

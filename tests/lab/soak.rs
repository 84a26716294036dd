//! Churn on a real Engine for any length of time. Containers come and go at random, the Engine is
//! restarted and killed, the daemon's rules are flushed, SIGHUP makes it resync, and in the first
//! quarter it is killed, too. While only containers come and go, `dump --diff` finds no difference.
//! At the end the daemon is no larger than after a warm-up, and the kernel has the rules that a fresh
//! daemon builds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::journal;
use crate::support::backend::in_use;
use crate::support::draw::Draw;
use crate::support::lab::daemon::{Daemon, STATE_DIR};
use crate::support::lab::engine::Engine;
use crate::support::lab::rules::{self, Foreign, Published};
use crate::support::lab::talk::Proto::Tcp;
use crate::support::lab::{CLIENT, HOST, Lab, PREFIX};
use crate::support::process::{heeds_hangup, kib};
use crate::support::score::Score;
use crate::support::torture::{SEED, SOAK, number};
use crate::support::wait::{SOON, eventually, until};

const ARGS: [&str; 4] = ["--dev", "eth0", "--prefix", PREFIX];

/// Seconds of a short run, for CI.
const SAMPLE: u64 = 60;

/// Most containers at once; some publish a port.
const CROWD: u64 = 6;

/// How much memory may differ between two moments of rest, in KiB. The allocator keeps the memory
/// of the busiest moment; a leak of 100 bytes per event would show within an hour.
const MEMORY: u64 = 8 * 1024;

/// How much the journal's directory may differ, in KiB: sled writes to the end of its log, and
/// frees segments of 512 KiB at a time.
const JOURNAL: u64 = 4 * 1024;

/// Removes as many of our rules as possible: the kernel protects an owned table, and the daemon may
/// repair rules at the same time.
const FLUSH: &str = r#"
{ echo '*nat'
  ip6tables-save -t nat | sed -n '/docker-nat66:[0-9a-f]\{16\}"/s/^-A/-D/p'
  echo COMMIT
} | ip6tables-restore --noflush 2>/dev/null || :
nft delete table ip6 docker_nat66 2>/dev/null || :"#;

/// The sizes that must not grow.
#[derive(Debug, Clone, Copy)]
struct Size {
    rss_kib: u64,
    descriptors: usize,
    threads: usize,
    state_kib: u64,
}

impl Size {
    fn of(lab: &Lab, daemon: &Daemon<'_>) -> Self {
        let proc = Path::new("/proc").join(daemon.id().to_string());
        let count = |what| fs::read_dir(proc.join(what)).map_or(0, Iterator::count);
        let used = lab.host().run(&["du", "-sk", STATE_DIR]);
        let used = used.split_whitespace().next().and_then(|n| n.parse().ok());
        Self {
            rss_kib: kib(daemon.id(), "VmRSS"),
            descriptors: count("fd"),
            threads: count("task"),
            state_kib: used.expect("a size"),
        }
    }

    fn is_no_larger_than(&self, before: &Self) -> bool {
        self.rss_kib <= before.rss_kib + MEMORY
            && self.descriptors <= before.descriptors
            && self.threads <= before.threads
            && self.state_kib <= before.state_kib + JOURNAL
    }
}

/// The test's model: what runs, and what has been done.
struct Churn<'l> {
    lab: &'l Lab,
    engine: Engine<'l>,
    daemon: Option<Daemon<'l>>,
    draw: Draw,
    /// The running containers by number, each with its host port if it has one.
    running: BTreeMap<u64, Option<u16>>,
    done: BTreeMap<&'static str, u64>,
    /// Containers that have come, gone or restarted since anything else was done.
    containers: u64,
}

impl<'l> Churn<'l> {
    fn name(number: u64) -> String {
        format!("c{number}")
    }

    fn daemon(&self) -> &Daemon<'l> {
        self.daemon.as_ref().expect("it runs")
    }

    /// Does one random thing; `kills`: that may be a kill of the daemon.
    fn step(&mut self, kills: bool) {
        self.containers += 1;
        let what = match self.draw.below(100) {
            0..70 => self.one_container(),
            70..80 => {
                self.containers = 0;
                self.lab.host().sh(FLUSH);
                "flush of the rules"
            }
            80..88 => {
                until("SIGHUP to be heeded", || heeds_hangup(self.daemon().id()));
                self.daemon().signal(Signal::HUP);
                "resync"
            }
            88..90 => self.restart_of_the_engine(),
            90..92 => self.kill_of_the_engine(),
            92..100 if kills => {
                self.containers = 0;
                self.daemon.take().expect("it runs").sigkill();
                if self.draw.below(3) == 0 {
                    self.lab.host().sh(FLUSH);
                }
                self.daemon = Some(Daemon::start(self.lab, &ARGS));
                "kill of the daemon"
            }
            _ => self.one_container(),
        };
        *self.done.entry(what).or_default() += 1;
        if self.containers > 1 && !kills {
            self.shows_no_difference();
        }
    }

    /// Journal, kernel and Docker are side by side while containers come and go, and nothing else is done
    /// to any of them.
    fn shows_no_difference(&mut self) {
        let diff = self.daemon().command(&["dump", "--diff"]);
        assert!(diff.status.success(), "{diff:?}");
        *self.done.entry("comparison").or_default() += 1;
    }

    fn one_container(&mut self) -> &'static str {
        let number = self.draw.below(CROWD);
        let name = Self::name(number);
        if !self.running.contains_key(&number) {
            let port = u16::try_from(8000 + self.draw.below(CROWD * 2)).expect("a port");
            let is_free = !self.running.values().any(|p| *p == Some(port));
            let port = Some(port).filter(|_| is_free);
            let publish = port.map(|port| ["-p".to_owned(), format!("{port}:80")]);
            let publish: Vec<&str> = publish.iter().flatten().map(String::as_str).collect();
            self.engine.run(&name, &publish, &["tcp:80"]);
            self.running.insert(number, port);
            return "start of a container";
        }
        if self.draw.below(3) == 0 {
            self.engine.docker(&["restart", "-t", "0", &name]);
            return "restart of a container";
        }
        self.engine.remove(&name);
        self.running.remove(&number);
        "end of a container"
    }

    /// The containers live on if it ran with `--live-restore`.
    fn restart_of_the_engine(&mut self) -> &'static str {
        let all = ["--userland-proxy=false", "--live-restore"];
        self.engine
            .restart_with(&all[..1 + self.draw.below(2) as usize]);
        self.count_the_living();
        "restart of the Engine"
    }

    fn kill_of_the_engine(&mut self) -> &'static str {
        self.engine.kill();
        self.engine.start();
        self.count_the_living();
        "kill of the Engine"
    }

    /// Removes the containers that did not outlive the Engine.
    fn count_the_living(&mut self) {
        self.containers = 0;
        let names = self.engine.docker(&["ps", "--format", "{{.Names}}"]);
        let lives = |number: u64| names.lines().any(|name| name == Self::name(number));
        let (living, dead): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.running)
            .into_iter()
            .partition(|(number, _)| lives(*number));
        self.running = living;
        for number in dead.into_keys() {
            self.engine.remove(&Self::name(number));
        }
    }

    /// Waits until exactly the running containers' ports are published.
    #[track_caller]
    fn settles(&self, what: &str) {
        let published = self.running.iter().filter_map(|(number, port)| {
            let addr = self.engine.address(&Self::name(*number));
            Some(Published::new(
                format!("eth0 tcp * {}", (*port)?),
                format!("[{addr}]:80"),
            ))
        });
        let mut published: Vec<Published> = published.collect();
        published.sort();
        self.engine.settles(what, &published);
    }

    /// Stops every container, waits until all is quiet, and returns the size of the daemon.
    #[track_caller]
    fn rests(&mut self, what: &str, before: Option<&Size>) -> Size {
        for number in std::mem::take(&mut self.running).into_keys() {
            self.engine.remove(&Self::name(number));
        }
        self.settles(what);
        let Some(before) = before else {
            return Size::of(self.lab, self.daemon());
        };
        // An idle worker thread ends after a while.
        eventually(SOON, what, || {
            let size = Size::of(self.lab, self.daemon());
            let is = size.is_no_larger_than(before);
            is.then_some(size).ok_or((size, *before))
        })
    }
}

#[test]
#[ignore = "needs root and Docker: run by tests/run"]
fn after_long_churn_the_daemon_is_no_larger_and_right() {
    let seconds = number(SOAK, SAMPLE);
    let time = Duration::from_secs(seconds);
    let seed = number(SEED, 1);
    eprintln!("seed {seed}");
    let lab = Lab::up("soak");
    let foreign = Foreign::plant(lab.host());
    let mut score = Score::new(&format!("churn for {seconds} s, {}", in_use().name()));
    let engine = Engine::up(&lab, &["--userland-proxy=false", "--live-restore"]);
    let daemon = Some(Daemon::ready(&lab, &ARGS));
    let (draw, running, done) = (Draw(seed), BTreeMap::new(), BTreeMap::new());
    let mut churn = Churn {
        lab: &lab,
        engine,
        daemon,
        draw,
        running,
        done,
        containers: 0,
    };

    let begun = Instant::now();
    while begun.elapsed() < time / 4 {
        churn.step(true);
    }
    churn.settles("what runs after the kills");
    // From here on the daemon is not killed: it warms up for half as long as before.
    while begun.elapsed() < time * 3 / 8 {
        churn.step(false);
    }
    let warm = churn.rests("rest after warming up", None);
    while begun.elapsed() < time {
        churn.step(false);
        score.tried();
    }
    let settling = Instant::now();
    churn.settles("what runs in the end");
    score.recovered(settling.elapsed());
    let cold = churn.rests("rest as small as before", Some(&warm));
    eprintln!("{:?}\nwarm {warm:?}\nend  {cold:?}", churn.done);

    while churn.running.len() < 3 {
        churn.one_container();
    }
    churn.settles("what was started last");
    for (number, port) in &churn.running {
        if let Some(port) = port {
            let to = format!("[{HOST}]:{port}");
            lab.answers(Tcp, &to, &Churn::name(*number), CLIENT);
        }
    }
    journal::agrees(&lab);
    let sorted = || {
        let mut ours = rules::ours(lab.host());
        ours.sort();
        ours
    };
    let ours = sorted();
    churn.daemon.take().expect("it runs").leaves();
    lab.host().sh(&format!("rm -r {STATE_DIR}"));
    let fresh = Daemon::ready(&lab, &ARGS);
    let expected = sorted();
    assert!(score.compare(&expected, &ours), "{ours:#?} {expected:#?}");
    fresh.leaves();
    let text = |foreign: &Foreign| format!("{foreign:#?}");
    let after = Foreign::seen(lab.host());
    assert!(score.foreign(&text(&foreign), &text(&after)), "{after:#?}");
}

//! `dump --diff` while containers come and go: all three sides follow one another, so whatever it calls
//! different then is not. What lasts it finds in `looks`.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use docker_nat66::control::client;
use docker_nat66::control::protocol::{Answer, Request};
use rustix::process::Signal;

use crate::running::{are_open, container};
use crate::support::PROGRAM;
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::draw::Draw;
use crate::support::fake_engine::FakeEngine;
use crate::support::namespace;
use crate::support::scene::Scene;
use crate::support::score::Score;
use crate::support::together::{case, together};
use crate::support::torture::{CHURN, SEED, number};

/// Seconds of a short run, for CI.
const SAMPLE: u64 = 6;

/// Most containers at once, and how many ports they share.
const CROWD: u64 = 12;
const PORTS: u64 = 16;

/// Changes in a row without a pause, at most: as `docker compose up` and `down` make them.
const BURST: u64 = 8;

/// Longest pause between two bursts, in milliseconds.
const PAUSE: u64 = 60;

/// After so many changes the daemon may catch up: on a busy machine it is slower than the fake Engine, and
/// would follow events of minutes ago.
const AHEAD: u64 = 100;

/// The test's model of what runs: the port of each container by its number.
struct Crowd<'e> {
    engine: &'e FakeEngine,
    draw: Draw,
    running: BTreeMap<u16, u16>,
    changes: u64,
}

impl Crowd<'_> {
    fn below(&mut self, bound: u64) -> u16 {
        u16::try_from(self.draw.below(bound)).expect("it is small")
    }

    /// Starts, ends or restarts a container. A port is taken by another at once when it is free, and so
    /// is an address.
    fn step(&mut self) {
        self.changes += 1;
        let number = 2 + self.below(CROWD);
        let Some(port) = self.running.remove(&number) else {
            let port = 8000 + self.below(PORTS);
            if !self.running.values().any(|taken| *taken == port) {
                self.engine.run(container(number, port));
                self.running.insert(number, port);
            }
            return;
        };
        self.engine.die(&container(number, port).id);
        if self.draw.below(2) == 0 {
            self.engine.run(container(number, port));
            self.running.insert(number, port);
        }
    }

    /// Waits until the daemon has opened the ports of what runs, and no others.
    #[track_caller]
    fn are_open(&self, daemon: &mut Daemon<'_>) {
        let running: Vec<(u16, u16)> = self.running.iter().map(|(n, p)| (*n, *p)).collect();
        assert!(daemon.shows("what runs", |_, rows| are_open(rows, &running)));
    }
}

/// What the comparisons said.
#[derive(Debug, Default)]
struct Said {
    /// Answers of `dump --diff`, and those that were not "equal".
    answers: u64,
    different: Vec<String>,
    /// Single comparisons of the daemon, without another try, and those that were not equal.
    singles: u64,
    unequal: u64,
    slowest: Duration,
}

impl Said {
    fn asks(&mut self, scene: &Scene) {
        let begun = Instant::now();
        let mut command = Command::new(PROGRAM);
        command
            .args(["dump", "--diff"])
            .arg("--state-dir")
            .arg(scene.state_dir());
        let output = command.env_clear().output().expect("runs");
        self.slowest = self.slowest.max(begun.elapsed());
        self.answers += 1;
        if output.status.code() != Some(0) {
            self.different.push(format!("{output:?}"));
        }
        match client::ask(&scene.control(), Request::Diff) {
            Ok(Answer::Diff(comparison)) => {
                self.singles += 1;
                self.unequal += u64::from(!comparison.equal);
            }
            other => panic!("{other:?}: {}", scene.log()),
        }
    }
}

fn churns(backend: Backend) {
    let seconds = number(CHURN, SAMPLE);
    let seed = number(SEED, 1);
    let time = Duration::from_secs(seconds);
    let scene = Scene::new(backend);
    let engine = FakeEngine::start();
    let mut daemon = Daemon::ready(&scene, &engine, &[]);
    let mut score = Score::new(&format!(
        "compared under churn for {seconds} s, {}",
        backend.name()
    ));
    let mut said = Said::default();
    let mut crowd = Crowd {
        engine: &engine,
        draw: Draw(seed),
        running: BTreeMap::new(),
        changes: 0,
    };
    let mut caught_up = 0;
    let is_over = AtomicBool::new(false);
    let begun = Instant::now();
    thread::scope(|scope| {
        let churning = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                for _ in 0..=crowd.draw.below(BURST) {
                    crowd.step();
                }
                if crowd.changes >= caught_up + AHEAD {
                    crowd.are_open(&mut daemon);
                    caught_up = crowd.changes;
                }
                // A list of everything in between.
                if crowd.draw.below(40) == 0 {
                    daemon.signal(Signal::HUP);
                }
                thread::sleep(Duration::from_millis(crowd.draw.below(PAUSE)));
            }
        });
        // Whatever happens, the thread ends.
        while begun.elapsed() < time && !churning.is_finished() {
            said.asks(&scene);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let changes = crowd.changes;
    eprintln!(
        "{}, seed {seed}: {changes} changes; {} answers, {} different, the slowest after {} ms; \
         {} single comparisons, {} unequal",
        backend.name(),
        said.answers,
        said.different.len(),
        said.slowest.as_millis(),
        said.singles,
        said.unequal
    );
    crowd.are_open(&mut daemon);
    for _ in 0..said.answers {
        score.tried();
    }
    score.lost(said.different.len() as u64);
    assert_eq!(said.different, Vec::<String>::new(), "{}", scene.log());
    assert!(said.answers > 0 && changes > 0, "{said:?}");
    daemon.leaves();
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn no_difference_is_seen_while_containers_come_and_go() {
    namespace::fresh(|| {
        together(vec![
            case("ip6tables", || churns(Backend::Ip6tables)),
            case("nftables", || churns(Backend::Nftables)),
        ]);
    });
}

//! The daemon itself among tools and Engines that fail, hang, babble or go away: it says so, keeps
//! what is applied, and is right again by itself when they are well.
//!
//! The kernel is real, in namespaces of each case's own; the Engine is the fake one. The cases of a
//! test run at once, for they mostly wait. By default a sample; in `tests/torture` all of them.

mod engine;
mod flood;
mod lock;
mod quarrel;
mod rewriter;
mod tool;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use docker_nat66::control::status::DaemonState;

use crate::running::{Running, are_open};
use crate::support::daemon::Daemon;
use crate::support::process::neighbours;
use crate::support::scene::Scene;
use crate::support::score::Score;
use crate::support::wait::{PATIENCE, until};

/// Most memory of a daemon that is flooded, at any moment, in MiB: it has some 15 when idle, and
/// what is read at once may have 64, and is turned over once.
const MOST_MEMORY: u64 = 256;

/// What runs before a fault.
const BEFORE: &Running = &[(2, 8080), (3, 8081)];

/// What runs after it: one has come, one has gone, and a port has moved to another container.
const AFTER: &Running = &[(4, 8082), (5, 8081)];

/// Processes of this network namespace that are neither the test nor one of `known`, with their
/// arguments.
fn strays(known: &[u32]) -> Vec<String> {
    let mut pids: Vec<u32> = neighbours().into_iter().map(|it| it.pid).collect();
    // This process is where its first thread is.
    pids.retain(|pid| *pid != std::process::id() && !known.contains(pid));
    let shown = pids.into_iter().map(|pid| {
        let args = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        format!("{pid} {}", String::from_utf8_lossy(&args))
    });
    shown.collect()
}

/// Waits until the daemon reports no problem, and its journal names these and no others.
#[track_caller]
fn serves(daemon: &mut Daemon<'_>, running: &Running) {
    let what = format!("serving {running:?}");
    let lives = daemon.shows(&what, |status, rows| {
        status.state == DaemonState::Running && are_open(rows, running)
    });
    assert!(lives, "killed");
}

/// Waits for a while until the kernel holds `expected` of ours; whether it does is for [`holds`].
fn settles(scene: &Scene, expected: &[String]) {
    let began = Instant::now();
    while scene.ours() != expected && began.elapsed() < PATIENCE / 2 {
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// The kernel holds `expected` of ours, once each, and everybody else's as before; and nothing
/// is left running beside what `known` names.
#[track_caller]
fn holds(scene: &Scene, score: &mut Score, what: &str, expected: &[String], known: &[u32]) {
    scene.has(score, what, expected, &scene.ours());
    scene.spares_others(score, what);
    // It may be looking at the kernel just now.
    until(what, || strays(known).is_empty());
}

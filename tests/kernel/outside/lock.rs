//! The lock of ip6tables-legacy, held by somebody else.

use std::fs::File;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::tool::{Trial, trial_of};
use crate::support::backend::Backend;
use crate::support::namespace;
use crate::support::shell::sh;
use crate::support::together::{case, together};
use crate::support::wait::until;

/// Where the tool has it.
const LOCK: &str = "/run/xtables.lock";

/// As another tool would take it; free when dropped.
fn take() -> File {
    let file = File::create(LOCK).expect("the lock's file");
    flock(&file, FlockOperation::NonBlockingLockExclusive).expect("free");
    file
}

fn rules() -> Vec<String> {
    let all = sh("ip6tables-save");
    let rules = all.lines().filter(|line| line.starts_with("-A "));
    rules.map(str::to_owned).collect()
}

fn trial(fault: &str, body: impl FnOnce(&mut Trial<'_>)) {
    trial_of("legacy", Backend::Ip6tables, fault, body);
}

/// Longer than the tool waits (8 s).
fn held_for_ten_seconds() {
    trial("xtables lock held for 10 s", |trial| {
        let lock = take();
        let taken = Instant::now();
        trial.change();
        until("ten seconds", || taken.elapsed() > Duration::from_secs(10));
        drop(lock);
        trial.recovers();
    });
}

/// The writer must be back before a supervisor takes it for dead (60 s in our unit).
fn held_for_long() {
    trial("xtables lock held for 40 s", |trial| {
        let lock = take();
        let taken = Instant::now();
        trial.change();
        let took = trial.daemon.warns_of("holding the xtables lock");
        assert!(took < Duration::from_secs(35), "{took:?}");
        until("forty seconds", || {
            taken.elapsed() > Duration::from_secs(40)
        });
        drop(lock);
        trial.recovers();
    });
}

/// DESIGN, invariant 14.
fn killed_while_its_tool_waits() {
    trial(
        "killed while a tool of its own waits for the lock",
        |trial| {
            for _ in 0..3 {
                let lock = take();
                let before = rules();
                trial.change();
                trial.tool_waits();
                trial.is_killed();
                drop(lock);
                // What waited would go on now.
                drop(take());
                assert_eq!(rules(), before);
                trial.starts_again();
                trial.recovers();
            }
        },
    );
}

#[test]
#[ignore = "needs root and ip6tables: run by tests/run"]
fn who_holds_the_lock_is_waited_for_and_nothing_outlives_the_daemon() {
    let cases = vec![
        case("10 s", held_for_ten_seconds),
        case("40 s", held_for_long),
        case("killed", killed_while_its_tool_waits),
    ];
    namespace::fresh(|| together(cases));
}

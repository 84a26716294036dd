//! Names in and above the state directory: each survives a power cut, for the directory that it is
//! in is synced after it was made or changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::namespace;
use crate::scene::{PROGRAM, sh};

/// A change of names, or a sync, in the order in which they succeeded.
#[derive(Debug)]
enum Step {
    /// Something came to stand under this name.
    Named(PathBuf),
    /// This was synced.
    Synced(PathBuf),
}

/// What `cleanup`, which opens and closes the journal as the daemon does, asks of the system about
/// `state` and the directories above it up to `top`.
fn steps_of_cleanup(top: &Path, state: &Path) -> Vec<Step> {
    let trace = top.join("trace");
    let ended = Command::new("strace")
        .args(["-f", "-y", "-z", "-s", "4096"])
        .args(["-e", "trace=mkdir,rename,fsync", "-o"])
        .args([&trace, Path::new(PROGRAM)])
        .args(["cleanup", "--state-dir"])
        .arg(state)
        .output()
        .expect("strace is installed");
    assert!(ended.status.success(), "{ended:?}");
    let trace = fs::read_to_string(trace).expect("a trace");
    let steps = trace.lines().filter_map(step);
    let below = |step: &Step| match step {
        Step::Named(path) | Step::Synced(path) => path.starts_with(top),
    };
    steps.filter(below).collect()
}

/// `PID mkdir("PATH", 0700) = 0`, `PID rename("FROM", "TO") = 0`, `PID fsync(7<PATH>) = 0`; where
/// another thread came in between, without the end.
fn step(line: &str) -> Option<Step> {
    let (_, call) = line.split_once(' ')?;
    let (name, arguments) = call.trim_start().split_once('(')?;
    let mut quoted = arguments.split('"').skip(1).step_by(2).map(PathBuf::from);
    match name {
        "mkdir" => quoted.next().map(Step::Named),
        "rename" => quoted.nth(1).map(Step::Named),
        "fsync" => {
            let (_, rest) = arguments.split_once('<')?;
            let (path, _) = rest.split_once('>')?;
            Some(Step::Synced(path.into()))
        }
        _ => None,
    }
}

/// How many names were made, each of which was synced.
#[track_caller]
fn all_are_synced(steps: &[Step]) -> usize {
    let mut names = 0;
    for (at, step) in steps.iter().enumerate() {
        let Step::Named(name) = step else { continue };
        let parent = name.parent().expect("not the root");
        let is_synced =
            |later: &Step| matches!(later, Step::Synced(path) if path.as_path() == parent);
        assert!(steps[at..].iter().any(is_synced), "{name:?}: {steps:#?}");
        names += 1;
    }
    names
}

#[test]
#[ignore = "needs root and strace: run by tests/run"]
fn every_new_name_is_synced_into_its_directory() {
    namespace::fresh(|| {
        sh("ip link set lo up");
        let dir = tempfile::tempdir().expect("a directory");
        let top = dir.path();
        let state = top.join("a/b/state");
        // The directories, the database in its place, and the marker in its.
        let first = steps_of_cleanup(top, &state);
        assert!(all_are_synced(&first) >= 6, "{first:#?}");
        fs::write(state.join("journal/db"), [0xa5; 4096]).expect("writes");
        // Besides, the quarantined one.
        let next = steps_of_cleanup(top, &state);
        assert!(all_are_synced(&next) >= 3, "{next:#?}");
        let kept = |step: &Step| match step {
            Step::Named(name) => name.to_string_lossy().contains("quarantine-"),
            Step::Synced(_) => false,
        };
        assert!(next.iter().any(kept), "{next:#?}");
    });
}

//! `cleanup` in another network namespace than the daemon's, where none of its rules is seen.

use std::process::{Command, Output};

use crate::running::engine;
use crate::support::PROGRAM;
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::namespace;
use crate::support::scene::Scene;

/// In a namespace without rules; with `flags` it may be as in a container.
fn elsewhere(scene: &Scene, flags: &[&str], args: &[&str]) -> Output {
    let mut command = Command::new("unshare");
    command.args(flags).args(["--net", PROGRAM]).args(args);
    command.arg("--state-dir").arg(scene.state_dir());
    command.output().expect("runs")
}

/// The last line that it has said.
fn said(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    said.lines().last().unwrap_or_default().to_owned()
}

#[test]
#[ignore = "needs root: run by tests/run"]
fn it_names_the_namespace_and_keeps_the_records() {
    for backend in [Backend::Nftables, Backend::Ip6tables] {
        namespace::fresh(|| {
            let scene = Scene::new(backend);
            let engine = engine(&[(2, 8080)]);
            let mut daemon = Daemon::ready(&scene, &engine, &[]);
            daemon.kill();
            let rules = scene.ours();
            assert!(!rules.is_empty(), "{backend:?}");
            let container = &["--pid", "--fork", "--mount-proc"][..];
            for (flags, args) in [
                (&[][..], &["cleanup", "--dry-run"][..]),
                (&[], &["cleanup"]),
                (container, &["cleanup"]),
            ] {
                let output = elsewhere(&scene, flags, args);
                assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
                let what = "the last daemon's rules are in another network namespace";
                assert!(said(&output).contains(what), "{args:?}: {output:?}");
                assert_eq!(scene.ours(), rules, "{args:?}");
            }
            // What it prints removes them.
            let output = elsewhere(&scene, &[], &["cleanup"]);
            let said = said(&output);
            let (_, command) = said.split_once("there: ").expect("a command");
            let words: Vec<&str> = command.split_whitespace().collect();
            let [nsenter, namespace, "docker-nat66", cleanup] = words[..] else {
                panic!("{command}");
            };
            let mut command = Command::new(nsenter);
            command.args([namespace, PROGRAM, cleanup, "--state-dir"]);
            let output = command.arg(scene.state_dir()).output().expect("runs");
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            assert_eq!(scene.traces(), [""; 0], "{backend:?}");
            // Nothing is left that could be elsewhere.
            let output = elsewhere(&scene, container, &["cleanup"]);
            assert_eq!(output.status.code(), Some(0), "{output:?}");
        });
    }
}

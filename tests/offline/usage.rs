//! Help, and failures as objects, of commands that find no daemon.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use serde_json::{Value, json};

use crate::support::PROGRAM;

/// Runs the program with no state directory and no daemon, and returns its outputs.
fn output(args: &[&str]) -> Output {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut command = Command::new(PROGRAM);
    command.env_clear().args(args);
    command.env("DOCKER_NAT66_STATE_DIR", dir.path().join("none"));
    command.env("DOCKER_NAT66_CONTROL", dir.path().join("control.sock"));
    command.env("DOCKER_NAT66_DOCKER_HOST", "tcp://secret.invalid:1");
    command.output().expect("runs")
}

#[test]
fn a_failure_is_an_object_where_one_was_asked_for() {
    for (args, exit) in [
        (&["status", "--json"][..], 3),
        (&["dump", "--json"], 1),
        (&["dump", "--diff", "--json"], 3),
        (&["status", "--json", "--bogus"], 2),
        (&["check", "--json", "--ignore", "nothing"], 2),
        (&["metrics", "--json"], 3),
        (&["reload", "--json"], 3),
        (&["log-level", "debug", "--json"], 3),
        (&["log-level", "loud", "--json"], 2),
        (&["explain", "0", "--json"], 2),
    ] {
        let ended = output(args);
        assert_eq!(ended.status.code(), Some(exit), "{args:?}: {ended:?}");
        let object: Value = serde_json::from_slice(&ended.stdout).expect("an object");
        assert_eq!((&object["v"], &object["exit"]), (&json!(1), &json!(exit)));
        let error = object["error"].as_str().expect("a text");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(
            !error.is_empty() && said.contains(error),
            "{args:?}: {said}"
        );
    }
}

#[test]
fn every_help_names_its_exit_codes_and_no_value_of_the_environment() {
    let help = |args: &[&str]| {
        let ended = output(args);
        assert!(ended.status.success(), "{args:?}: {ended:?}");
        String::from_utf8(ended.stdout).expect("UTF-8")
    };
    let usage = help(&["--help"]);
    assert!(
        usage.contains("Usage: docker-nat66 [COMMAND] [OPTIONS]"),
        "{usage}"
    );
    let commands = [
        "run",
        "dump",
        "status",
        "cleanup",
        "check",
        "explain",
        "metrics",
        "reload",
        "log-level",
        "print",
    ];
    for command in commands {
        for flag in ["-h", "--help"] {
            let text = help(&[command, flag]);
            assert!(text.contains("Exit codes:\n  0 "), "{command}: {text}");
            assert!(!text.contains("secret.invalid"), "{command}: {text}");
            let wide = text.lines().find(|line| line.chars().count() > 100);
            assert_eq!(wide, None, "{command}");
        }
    }
    for command in ["dump", "status"] {
        let text = help(&[command, "-h"]);
        for option in ["--json", "--state-dir", "--control", "--wide"] {
            assert!(text.contains(option), "{command}: {option}");
        }
    }
    for command in commands
        .iter()
        .filter(|it| !["run", "cleanup", "print"].contains(it))
    {
        let text = help(&[command, "-h"]);
        for option in ["--json", "--state-dir", "--control"] {
            assert!(text.contains(option), "{command}: {option}");
        }
    }
}

#[test]
fn a_fatal_error_is_one_line_in_the_format_of_the_log() {
    let wrong: [(&[&str], &str); 6] = [
        (&["--dev", "eth0/1", "--prefix", "fd00::/64"], "--dev"),
        (&[], "--dev"),
        (&["--bogus"], "unexpected argument '--bogus' found"),
        (
            &["run", "status"],
            "the command goes first: docker-nat66 status",
        ),
        (
            &["run", "--stale-grace", "soon"],
            "give a number with its unit",
        ),
        (
            &["cleanup", "--prefix", "fd00::/64"],
            "--prefix goes with --foreign",
        ),
    ];
    for (args, words) in wrong {
        for (format, begin) in [("json", "{"), ("journald", "<2>")] {
            let typed = [args, &["--log-format", format]].concat();
            let option = format!("--log-format={format}");
            let assigned = [args, &[&*option]].concat();
            let mut by_environment = Command::new(PROGRAM);
            by_environment.env_clear().args(args);
            by_environment.env("DOCKER_NAT66_LOG_FORMAT", format);
            let by_environment = by_environment.output().expect("runs");
            for ended in [output(&typed), output(&assigned), by_environment] {
                assert_eq!(ended.status.code(), Some(2), "{args:?}: {ended:?}");
                let said = String::from_utf8(ended.stderr).expect("UTF-8");
                let [line] = said.lines().collect::<Vec<_>>()[..] else {
                    panic!("{args:?}: {said}");
                };
                assert!(
                    line.starts_with(begin) && line.contains(words),
                    "{args:?}: {line}"
                );
                if format == "json" {
                    let object: Value = serde_json::from_str(line).expect("an object");
                    assert_eq!(object["level"], "CRIT", "{line}");
                }
            }
        }
    }
}

#[test]
fn every_message_begins_with_the_program() {
    for args in [&["--bogus"][..], &["fly"], &[], &["--dev", "eth0/1"]] {
        let ended = output(args);
        let said = String::from_utf8(ended.stderr).expect("UTF-8");
        assert!(said.starts_with("docker-nat66: "), "{args:?}: {said}");
        assert_eq!(
            said.matches("docker-nat66: ").count(),
            1,
            "{args:?}: {said}"
        );
    }
}

#[test]
fn a_prefix_does_not_limit_what_cleanup_removes() {
    for log in [None, Some("loud")] {
        let mut command = Command::new(PROGRAM);
        // It is refused before anything is done.
        command
            .env_clear()
            .args(["cleanup", "--prefix", "fd00::/64"]);
        command.args(["--log-level", "info", "--log-format", "auto"]);
        // A wrong value goes unread where the command line has one.
        command.envs(log.map(|level| ("DOCKER_NAT66_LOG_LEVEL", level)));
        let ended = command.output().expect("runs");
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(said.contains("--prefix goes with --foreign"), "{said}");
    }
}

/// Answers each question at `socket` with a refusal, until the test ends.
fn refusing(socket: &Path) {
    let listener = UnixListener::bind(socket).expect("bind");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client");
            let mut line = String::new();
            let mut reader = BufReader::new(stream.try_clone().expect("another descriptor"));
            reader.read_line(&mut line).expect("a question");
            let answer = format!("{}\n", json!({"error": "here"}));
            stream.write_all(answer.as_bytes()).expect("answered");
        }
    });
}

#[test]
fn the_daemon_that_the_command_line_names_is_asked_and_no_other() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    refusing(&dir.path().join("control.sock"));
    let (here, nowhere, state) = (path("control.sock"), path("none.sock"), path("state"));
    let status = |control: Option<&str>, args: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.env_clear().arg("status").args(args);
        command.env("DOCKER_NAT66_STATE_DIR", &state);
        command.envs(control.map(|it| ("DOCKER_NAT66_CONTROL", it)));
        let ended = command.output().expect("runs");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        (ended.status.code(), said)
    };
    for (control, args, exit, words) in [
        (Some(&here), &[][..], 1, "the daemon says: here"),
        (None, &["--control", &here], 1, "the daemon says: here"),
        (
            Some(&here),
            &["--state-dir", &state],
            3,
            "no daemon runs with",
        ),
        (Some(&nowhere), &[], 3, "no daemon runs with"),
        (
            None,
            &["--control", &nowhere],
            3,
            "no daemon listens at --control",
        ),
        (
            Some(&here),
            &["--control", &nowhere],
            3,
            "no daemon listens at --control",
        ),
    ] {
        let (code, said) = status(control.map(String::as_str), args);
        assert_eq!(code, Some(exit), "{control:?} {args:?}: {said}");
        assert!(said.contains(words), "{control:?} {args:?}: {said}");
    }
    // Those that work without a daemon, too, take no other for the one that is named.
    for command in [&["check"][..], &["explain", "8080"]] {
        let ended = output(&[command, &["--control", &nowhere]].concat());
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        let is_told = said.contains("no daemon listens at --control");
        // Without root explain asks nobody.
        let is_root = rustix::process::geteuid().is_root();
        if command == ["check"] || is_root {
            assert!(
                ended.status.code() == Some(2) && is_told,
                "{command:?}: {ended:?}"
            );
        }
    }
}

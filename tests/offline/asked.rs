//! Commands whose daemon answers what a test makes it say.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Output};
use std::thread;

use serde_json::{Value, json};

use crate::support::PROGRAM;

/// Runs the program with these arguments; its daemon answers each request as `says` has it.
fn ask(args: &[&str], says: fn(&Value) -> Value) -> Output {
    let dir = tempfile::tempdir().expect("temp dir");
    let socket = dir.path().join("control.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let answer = move |stream: UnixStream| -> std::io::Result<()> {
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line)?;
        let asked = serde_json::from_str(&line)?;
        // At once: a client that has the whole answer goes, and does not wait for the end of the line.
        (&stream).write_all(format!("{}\n", says(&asked)).as_bytes())
    };
    // It ends with the process.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(stream).expect("a request");
        }
    });
    let mut command = Command::new(PROGRAM);
    command.env_clear().args(args).arg("--control").arg(&socket);
    command.output().expect("runs")
}

/// A history that ends with this entry, and has none.
fn history(newest: u64, asked: &Value) -> Value {
    let seal = "00".repeat(32);
    match asked["ask"].as_str() {
        Some("dump") => json!({"dump": []}),
        Some("history") => json!({"history": {
            "v": 1, "anchor": [0, seal], "head": [newest, seal], "entries": [],
        }}),
        other => panic!("asked for {other:?}"),
    }
}

#[test]
fn a_history_whose_seals_do_not_fit_ends_with_code_1() {
    let whole: fn(&Value) -> Value = |asked| history(0, asked);
    let broken: fn(&Value) -> Value = |asked| history(2, asked);
    for (says, code, words, chain) in [
        (whole, 0, "", "whole"),
        (
            broken,
            1,
            "BROKEN  the newest entries are missing: there were 2",
            "broken",
        ),
    ] {
        let output = ask(&["dump", "--history"], says);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(text.contains(words), "{text}");
        let output = ask(&["dump", "--history", "--json"], says);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let last: Value = serde_json::from_slice(&output.stdout).expect("one object");
        assert_eq!(last["chain"], chain, "{last}");
        assert_eq!(last["error"].is_null(), code == 0, "{last}");
    }
}

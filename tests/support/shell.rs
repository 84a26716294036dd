//! Running lines of shell.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Runs a line of shell, which must succeed, and returns its standard output.
#[track_caller]
pub(crate) fn sh(line: &str) -> String {
    sh_with(line, "")
}

/// The same, with `input` on its standard input.
#[track_caller]
pub(crate) fn sh_with(line: &str, input: &str) -> String {
    let mut child = Command::new("sh")
        .args(["-ec", line])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut stdin = child.stdin.take().expect("piped");
    // A command that reads nothing may have ended.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}\n{input}\n{stderr}");
    String::from_utf8(output.stdout).expect("text")
}

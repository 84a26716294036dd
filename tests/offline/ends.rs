//! The end of the process: nothing that becomes of its log keeps it from ending, with the right code.

use std::env;
use std::fmt;
use std::process::Command;

use docker_nat66::logging::{self, Format, Verbosity};
use docker_nat66::sys::panics;
use slog::info;

use crate::support::PROGRAM;
use crate::support::again::again;
use crate::support::process::{full_pipe, wait};
use crate::support::wait::PATIENCE;

#[test]
fn a_command_that_fails_ends_though_nobody_reads_why() {
    let (_reader, writer) = full_pipe();
    let mut command = Command::new(PROGRAM);
    let mut child = command.arg("run").stderr(writer).spawn().expect("starts");
    drop(command);
    let ended = wait(&mut child, "the command", PATIENCE);
    assert_eq!(ended.code(), Some(2));
}

/// A value that cannot be shown.
struct Bomb;

impl fmt::Display for Bomb {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("it cannot be shown")
    }
}

/// Set in the process that is to end: the format of its log.
const FORMAT: &str = "DOCKER_NAT66_TEST_FORMAT";

#[test]
fn a_panic_while_a_line_is_logged_ends_the_process_too() {
    if let Some(format) = env::var_os(FORMAT) {
        let format = if format == "json" {
            Format::Json
        } else {
            Format::Term
        };
        let log = logging::to_stderr(format, Verbosity::Info);
        panics::install_hook(log.clone());
        info!(log, "shown"; "value" => %Bomb);
        unreachable!("it went on");
    }
    for format in ["term", "json"] {
        let output = again(&a_panic_while_a_line_is_logged_ends_the_process_too)
            .env(FORMAT, format)
            .output()
            .expect("this test again");
        assert_eq!(output.status.code(), Some(70), "{format}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        // Half a line of JSON is being written, and a second one cannot be begun.
        assert!(
            format == "json" || said.contains("it cannot be shown"),
            "{said}"
        );
    }
}

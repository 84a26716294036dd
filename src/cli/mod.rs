//! The commands, one file each, and what they end with.

pub mod args;
mod backends;
mod cleanup;
mod complaint;
mod dump;
mod places;
mod print;
mod run;
mod spelling;
mod status;
mod table;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};

use clap::Parser;
use serde::Serialize;

use crate::model::text::must_be_escaped;
use args::{Cli, Command};

/// Exit codes; documented in the README and in `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done; for `status`: healthy.
    Done = 0,
    /// Failed; for `status`: degraded.
    Failed = 1,
    /// Wrong usage or configuration: a supervisor should not try again.
    Usage = 2,
    /// Another daemon holds the lock; for `status`: none runs.
    Held = 3,
    /// Missing privilege, tool or kernel feature, or a journal of a newer version: a
    /// supervisor should not try again.
    Missing = 4,
}

/// How a command failed: one message, one exit code.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What was wrong, and what would be right.
    pub message: String,
}

impl Failure {
    /// A failure from an error and its causes.
    pub fn new(exit: Exit, error: &(impl std::error::Error + ?Sized)) -> Self {
        Self {
            exit,
            message: crate::sys::causes::chain(error),
        }
    }

    /// A failure in words.
    pub fn because(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Parses the arguments (without the program's name) and runs the command.
///
/// # Errors
/// The message to print and the exit code. Wrong usage has been printed by the parser, which
/// ends the process itself.
pub fn main(args: Vec<OsString>) -> Result<Exit, Failure> {
    let name = OsString::from("docker-nat66");
    let args = spelling::modernise(args);
    let cli = Cli::try_parse_from(std::iter::once(&name).chain(&args))
        .unwrap_or_else(|error| complaint::exit_with(&error, &args));
    let ended = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Dump(args) => dump::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Cleanup(args) => cleanup::run(&args),
        Command::Print(args) => print::run(&args),
    };
    ended.map_err(|mut failure| {
        if failure.exit == Exit::Usage
            && let Some(origin) = complaint::origin(&failure.message, &args)
        {
            failure.message.push_str(&format!(" ({origin})"));
        }
        failure
    })
}

/// Writes what a command has to say to standard output. A reader that has seen enough
/// (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::because(
            Exit::Failed,
            format!("cannot write to standard output: {e}"),
        )),
        _ => Ok(()),
    }
}

/// A value as one line of JSON, safe to show: JSON itself lets through the C1 controls and the
/// bidirectional overrides, which steer a terminal as well as an escape does.
fn json_line(value: &impl Serialize) -> Result<String, Failure> {
    let json = serde_json::to_string(value).map_err(|e| Failure::new(Exit::Failed, &e))?;
    let mut line = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        // Only inside strings, and none of them beyond 16 bits: what JSON escapes are for. A
        // backslash is JSON's own by now.
        if c != '\\' && must_be_escaped(c) {
            line.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::json_line;

    #[test]
    fn json_steers_no_terminal_and_says_the_same() {
        let name = "web\\ \"x\"\n\u{9b}31m\u{202e}\u{2028}\u{feff} größe データ 🦀";
        let line = json_line(&name).unwrap();
        let shown = line.strip_suffix('\n').unwrap();
        let steers = |c: char| c.is_control() || "\u{202e}\u{2028}\u{feff}".contains(c);
        assert!(!shown.contains(steers), "{shown}");
        assert!(shown.contains("größe データ 🦀"), "{shown}");
        assert_eq!(serde_json::from_str::<String>(shown).unwrap(), name);
    }
}

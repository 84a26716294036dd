//! The commands, one file each, and what they end with.

pub mod args;
mod cleanup;
mod complaint;
mod dump;
mod places;
mod run;
mod status;
mod table;

use std::ffi::OsString;
use std::fmt;

use clap::Parser;

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
            message: crate::text::chain(error),
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
    let args = args::modernise(args);
    let cli = Cli::try_parse_from(std::iter::once(&name).chain(&args))
        .unwrap_or_else(|error| complaint::exit_with(&error, &args));
    let ended = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Dump(args) => dump::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Cleanup(args) => cleanup::run(&args),
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

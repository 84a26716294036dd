//! `reload`: the daemon compares everything again. `log-level`: it logs more or less.

use clap::Args;
use serde::Serialize;

use super::args::{DaemonArgs, LogLevel};
use super::ask::{ask_daemon, no_daemon, wrong_answer};
use super::failure::{Exit, Failure};
use super::output;
use crate::control::protocol::{Answer, Request};

/// What the commands that ask the daemon for something end with.
const EXIT_CODES: &str = "Exit codes:\n  0  done\n  1  failed, or the daemon does not answer\n  \
                          2  wrong usage\n  3  no daemon runs\n  4  the daemon answers only root";

/// Options of `reload`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct ReloadArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Options of `log-level`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct LogLevelArgs {
    /// Which messages to log from now on, until the daemon ends
    #[arg(value_enum, value_name = "LEVEL")]
    level: LogLevel,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonArgs,
}

pub(super) fn reload(args: &ReloadArgs) -> Result<Exit, Failure> {
    send(&args.daemon, Request::Reload, args.json)
}

pub(super) fn log_level(args: &LogLevelArgs) -> Result<Exit, Failure> {
    let level = args.level.into();
    send(&args.daemon, Request::LogLevel { level }, args.json)
}

/// The object of `--json`.
#[derive(Debug, Serialize)]
struct DoneObject {
    v: u32,
    done: String,
}

/// Prints what came of the request.
fn send(daemon: &DaemonArgs, request: Request, json: bool) -> Result<Exit, Failure> {
    let done = match ask_daemon(daemon, request)? {
        Some(Answer::Done(done)) => done,
        Some(_) => return Err(wrong_answer()),
        None => return Err(no_daemon(daemon)),
    };
    output::print(&match json {
        true => output::json_line(&DoneObject { v: 1, done })?,
        false => format!("{done}\n"),
    })?;
    Ok(Exit::Done)
}

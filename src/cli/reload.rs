//! `reload`: the daemon compares everything again. `log-level`: it logs more or less.

use clap::Args;

use super::args::{DaemonArgs, LogLevel};
use super::ask::{ask_daemon, no_daemon, wrong_answer};
use super::failure::{Exit, Failure};
use super::output;
use crate::control::protocol::{Answer, Request};

/// Options of `reload`.
#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Options of `log-level`.
#[derive(Debug, Args)]
pub(super) struct LogLevelArgs {
    /// Which messages to log from now on, until the daemon ends
    #[arg(value_enum, value_name = "LEVEL")]
    level: LogLevel,
    #[command(flatten)]
    daemon: DaemonArgs,
}

pub(super) fn reload(args: &ReloadArgs) -> Result<Exit, Failure> {
    tell(&args.daemon, Request::Reload)
}

pub(super) fn log_level(args: &LogLevelArgs) -> Result<Exit, Failure> {
    let level = args.level.into();
    tell(&args.daemon, Request::LogLevel { level })
}

/// Prints what came of the request.
fn tell(daemon: &DaemonArgs, request: Request) -> Result<Exit, Failure> {
    match ask_daemon(daemon, request)? {
        Some(Answer::Done(what)) => output::print(&format!("{what}\n"))?,
        Some(_) => return Err(wrong_answer()),
        None => return Err(no_daemon(daemon)),
    }
    Ok(Exit::Done)
}

//! `reload`: the daemon compares everything again. `log-level`: it logs more or less.

use clap::Args;

use super::args::{LogLevel, StateArgs};
use super::ask::{ask, no_daemon, wrong_answer};
use super::failure::{Exit, Failure};
use super::output;
use crate::control::protocol::{Answer, Request};

/// Options of `reload`.
#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    state: StateArgs,
}

/// Options of `log-level`.
#[derive(Debug, Args)]
pub(super) struct LogLevelArgs {
    /// Which messages to log from now on, until the daemon ends
    #[arg(value_enum, value_name = "LEVEL")]
    level: LogLevel,
    #[command(flatten)]
    state: StateArgs,
}

pub(super) fn reload(args: &ReloadArgs) -> Result<Exit, Failure> {
    tell(&args.state, Request::Reload)
}

pub(super) fn log_level(args: &LogLevelArgs) -> Result<Exit, Failure> {
    let level = args.level.into();
    tell(&args.state, Request::LogLevel { level })
}

/// Prints what came of the request.
fn tell(state: &StateArgs, request: Request) -> Result<Exit, Failure> {
    let state_dir = &state.state_dir;
    match ask(state_dir, request)? {
        Some(Answer::Done(what)) => output::print(&format!("{what}\n"))?,
        Some(_) => return Err(wrong_answer()),
        None => return Err(no_daemon(state_dir)),
    }
    Ok(Exit::Done)
}

//! `status`: what the daemon is doing, on one screen.

use clap::Args;

use super::args::StateArgs;
use super::ask::{ask, no_daemon, wrong_answer};
use super::failure::{Exit, Failure};
use super::output;
use crate::control::protocol::{Answer, Request};
use crate::control::status::State;

/// Options of `status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    state: StateArgs,
}

pub(super) fn run(args: &StatusArgs) -> Result<Exit, Failure> {
    let state_dir = &args.state.state_dir;
    let status = match ask(state_dir, Request::Status)? {
        Some(Answer::Status(status)) => status,
        Some(_) => return Err(wrong_answer()),
        None => {
            return Err(no_daemon(state_dir));
        }
    };
    let text = if args.json {
        output::json_line(&status)?
    } else {
        status.to_string()
    };
    output::print(&text)?;
    Ok(match status.state {
        State::Running => Exit::Done,
        State::Starting | State::Degraded | State::Stopping => Exit::Failed,
    })
}

//! `status`: what the daemon is doing, on one screen.

use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use super::args::{DaemonArgs, time_to_wait};
use super::ask::{ask_daemon, no_daemon, wrong_answer};
use super::failure::{Exit, Failure};
use super::output;
use super::screen::{Canvas, status};
use crate::control::protocol::{Answer, Request};
use crate::control::status::{State, Status};

/// Pause between two questions of `--wait`.
const PAUSE: Duration = Duration::from_millis(100);

/// Options of `status`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes:\n  0  the daemon is healthy\n  1  it is starting, degraded or stopping, \
                  or does not answer\n  2  wrong usage\n  3  no daemon runs\n  4  the daemon answers \
                  only root"
)]
pub(super) struct StatusArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Wait until the daemon is healthy, for a minute or as long as given
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true,
          default_missing_value = "1min", value_parser = time_to_wait)]
    wait: Option<Duration>,
    /// Shorten nothing
    #[arg(long)]
    wide: bool,
    #[command(flatten)]
    daemon: DaemonArgs,
}

pub(super) fn run(args: &StatusArgs) -> Result<Exit, Failure> {
    let status = match args.wait {
        Some(patience) => wait(&args.daemon, Instant::now() + patience)?,
        None => ask(&args.daemon)?,
    };
    if args.json {
        output::print(&output::json_line(&status)?)?;
    } else {
        let canvas = Canvas::of_stdout(args.wide);
        output::print_screen(&status::screen(&status, &canvas))?;
    }
    Ok(exit(&status))
}

fn exit(status: &Status) -> Exit {
    match status.state {
        State::Running => Exit::Done,
        State::Starting | State::Degraded | State::Stopping => Exit::Failed,
    }
}

fn ask(daemon: &DaemonArgs) -> Result<Status, Failure> {
    match ask_daemon(daemon, Request::Status)? {
        Some(Answer::Status(status)) => Ok(*status),
        Some(_) => Err(wrong_answer()),
        None => Err(no_daemon(daemon)),
    }
}

/// The first healthy status, or what there is at the deadline. A daemon that does not run yet may
/// be about to.
fn wait(daemon: &DaemonArgs, deadline: Instant) -> Result<Status, Failure> {
    loop {
        let status = ask(daemon);
        let may_come = match &status {
            Ok(status) => status.state != State::Running,
            Err(failure) => matches!(failure.exit, Exit::Held | Exit::Failed),
        };
        if !may_come || Instant::now() >= deadline {
            return status;
        }
        thread::sleep(PAUSE);
    }
}

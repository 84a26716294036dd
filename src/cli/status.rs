//! `status`: what the daemon is doing, on one screen.

use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use super::args::{DaemonArgs, interval, time_to_wait};
use super::ask::{ask_daemon, no_daemon, wrong_answer};
use super::failure::{Exit, Failure};
use super::output;
use super::screen::{Canvas, rates, status};
use crate::control::protocol::{Answer, Request};
use crate::control::status::{DaemonState, Status};

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
    /// Show the status again and again, with the new connections of each published port
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true,
          default_missing_value = "2s", value_parser = interval,
          conflicts_with_all = ["json", "wait"])]
    watch: Option<Duration>,
    /// Shorten nothing
    #[arg(long)]
    wide: bool,
    #[command(flatten)]
    daemon: DaemonArgs,
}

pub(super) fn run(args: &StatusArgs) -> Result<Exit, Failure> {
    if let Some(pause) = args.watch {
        return watch(args, pause);
    }
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
        DaemonState::Running => Exit::Done,
        DaemonState::Starting | DaemonState::Degraded | DaemonState::Stopping => Exit::Failed,
    }
}

fn ask(daemon: &DaemonArgs) -> Result<Status, Failure> {
    match ask_daemon(daemon, Request::Status)? {
        Some(Answer::Status(status)) => Ok(*status),
        Some(_) => Err(wrong_answer()),
        None => Err(no_daemon(daemon)),
    }
}

/// Shows the status until the daemon or the reader has gone.
fn watch(args: &StatusArgs, pause: Duration) -> Result<Exit, Failure> {
    let mut before = (Instant::now(), Vec::new());
    loop {
        let status = ask(&args.daemon)?;
        let now = match ask_daemon(&args.daemon, Request::Connections)? {
            Some(Answer::Connections(ports)) => (Instant::now(), ports),
            Some(_) => return Err(wrong_answer()),
            None => return Err(no_daemon(&args.daemon)),
        };
        let canvas = Canvas::of_stdout(args.wide);
        let secs = now.0.duration_since(before.0).as_secs_f64();
        let mut screen = status::screen(&status, &canvas);
        screen.push_str(&rates::screen(&before.1, &now.1, secs, &canvas));
        if !output::print_over(&screen)? {
            return Ok(exit(&status));
        }
        before = now;
        thread::sleep(pause);
    }
}

/// The first healthy status, or what there is at the deadline. A daemon that does not run yet may
/// be about to.
fn wait(daemon: &DaemonArgs, deadline: Instant) -> Result<Status, Failure> {
    loop {
        let status = ask(daemon);
        let may_come = match &status {
            Ok(status) => status.state != DaemonState::Running,
            Err(failure) => matches!(failure.exit, Exit::Held | Exit::Failed),
        };
        if !may_come || Instant::now() >= deadline {
            return status;
        }
        thread::sleep(PAUSE);
    }
}

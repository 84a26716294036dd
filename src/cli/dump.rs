//! `dump`: what is open and what is closed, from the running daemon; or, if none runs, the journal
//! from a copy of the database.

use std::thread;
use std::time::Duration;

use clap::Args;

use super::args::DaemonArgs;
use super::ask::{ask_daemon, no_daemon, wrong_answer};
use super::failure::{Exit, Failure};
use super::history::{self, PastMoment, Query};
use super::output;
use super::screen::Canvas;
use super::screen::forwards::{self, Source};
use super::screen::{diff, rules};
use crate::control::comparison::Comparison;
use crate::control::protocol::{Answer, Request};
use crate::control::row::Row;
use crate::control::status::{ClosedPort, Status};
use crate::docker_nat::gate::StandbyState;
use crate::model::forward::Proto;

/// Options of `dump`.
#[derive(Debug, Args)]
#[command(
    after_help = "With a daemon, dump shows each published port: where it leads, who may use it, and \
                  what is closed with the reason. Without one it shows the ports of the journal that \
                  the last daemon left.\n\n\
                  The history has at most 10,000 entries and 4 MiB. It shows the image as docker ps \
                  did when the port was opened; an entry of an earlier release names none. Each entry is sealed with the seal of the one before. That a \
                  journal was put back whole to an earlier state does not show in it: compare the newest \
                  seal with the log, which has it once an hour and at a clean end.\n\n\
                  Exit codes:\n  0  done; with --diff: all three are equal\n  1  failed; with --diff: \
                  they differ; with --history: a seal is broken\n  2  wrong usage\n  3  with --diff: no daemon runs\n  4  the journal \
                  has a newer version, or is only for root"
)]
pub(super) struct DumpArgs {
    /// Print the journal, one JSON object per rule
    #[arg(long)]
    json: bool,
    /// Show every rule of the journal
    #[arg(long)]
    rules: bool,
    /// Compare the journal, the kernel and Docker, and show the rules that differ
    #[arg(long, conflicts_with_all = ["rules", "container", "port"])]
    diff: bool,
    /// Show what was open, from when to when, and why it ended
    #[arg(long, conflicts_with_all = ["rules", "diff"])]
    history: bool,
    /// With --history: only what was open then or later; a time, or how long ago: 2h
    #[arg(long, value_name = "TIME", requires = "history", value_parser = PastMoment::parse)]
    since: Option<PastMoment>,
    /// With --history: only what was open then; a time, or how long ago
    #[arg(long, value_name = "TIME", requires = "history", conflicts_with = "since",
          value_parser = PastMoment::parse)]
    at: Option<PastMoment>,
    /// Show only this container, by its name or the beginning of its id
    #[arg(long, value_name = "NAME")]
    container: Option<String>,
    /// Show only this published port: 8080, 53/udp
    #[arg(long, value_name = "PORT[/PROTO]", value_parser = wanted_port)]
    port: Option<WantedPort>,
    /// Shorten nothing
    #[arg(long)]
    wide: bool,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// A port, of any protocol where none is given.
type WantedPort = (u16, Option<Proto>);

fn wanted_port(text: &str) -> Result<WantedPort, String> {
    let (port, proto) = match text.split_once('/') {
        Some((port, proto)) => (port, Some(proto)),
        None => (text, None),
    };
    let example = "give a port such as 8080 or 53/udp";
    let port = port.parse().ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| format!("this is not a port from 1 to 65535; {example}"))?;
    let proto = proto.map(str::parse::<Proto>).transpose();
    let proto = proto.map_err(|e| format!("{e}; {example}"))?;
    Ok((port, proto))
}

impl DumpArgs {
    fn is_container(&self, name: Option<&str>, id: Option<&str>) -> bool {
        self.container.as_deref().is_none_or(|wanted| {
            name == Some(wanted) || id.is_some_and(|id| id.starts_with(wanted))
        })
    }

    fn is_filtered(&self) -> bool {
        self.container.is_some() || self.port.is_some()
    }

    /// Whether a container's port is wanted. One that is closed altogether is wanted for any port.
    fn wants(
        &self,
        (name, id): (Option<&str>, Option<&str>),
        (port, proto): (Option<u16>, Option<&str>),
        closes_all: bool,
    ) -> bool {
        let is_named = self.is_container(name, id);
        let is_port = self.port.is_none_or(|(wanted, of)| {
            let is_proto = of.is_none_or(|of| proto == Some(of.as_str()));
            (port.is_none() && closes_all) || (port == Some(wanted) && is_proto)
        });
        is_named && is_port
    }

    fn wants_row(&self, row: &Row) -> bool {
        let container = (row.container_name.as_deref(), row.container_id.as_deref());
        let port = (row.host_port, row.proto.as_deref());
        self.wants(container, port, row.kind == "skipped")
    }

    fn wants_closed(&self, closed: &ClosedPort) -> bool {
        let container = (&*closed.container_name, &*closed.container_id);
        let port = (closed.port, closed.proto.as_deref());
        self.wants((Some(container.0), Some(container.1)), port, true)
    }
}

pub(super) fn run(args: &DumpArgs) -> Result<Exit, Failure> {
    if args.diff {
        return run_diff(args);
    }
    if args.history {
        let query = Query {
            since: args.since,
            at: args.at,
            port: args.port,
            is_container: &|name, id| args.is_container(Some(name), Some(id)),
            json: args.json,
            wide: args.wide,
        };
        return history::run(&query, &args.daemon);
    }
    let (mut rows, source) = rows(&args.daemon)?;
    rows.retain(|row| args.wants_row(row));
    if args.json {
        output::print_lines(rows.iter())?;
        return Ok(Exit::Done);
    }
    let canvas = Canvas::of_stdout(args.wide);
    let text = if args.rules {
        or_else(rules::screen(&rows, &canvas), "no rule", args, source)
    } else {
        let status = match source {
            Source::Daemon => status(&args.daemon)?,
            Source::Journal => None,
        };
        let mut closed = status.as_ref().map_or_else(Vec::new, |s| s.closed.clone());
        closed.retain(|closed| args.wants_closed(closed));
        let screen = forwards::screen(&rows, &closed, source, &canvas);
        let mut text = or_else(screen, "no published port", args, source);
        let native = status.as_ref().and_then(|status| status.native.as_ref());
        let native = native.filter(|native| native.state == StandbyState::On);
        let served = native.map(|native| native.served);
        text.push_str(&forwards::note(source, served, &canvas));
        text
    };
    output::print_screen(&text)?;
    Ok(Exit::Done)
}

/// How often what differs is compared again, and the pause before that: a difference that lasts is none
/// of a change under way.
const AGAIN: (u32, Duration) = (3, Duration::from_millis(300));

fn run_diff(args: &DumpArgs) -> Result<Exit, Failure> {
    let mut comparison = compare(&args.daemon)?;
    for _ in 0..AGAIN.0 {
        if comparison.equal {
            break;
        }
        thread::sleep(AGAIN.1);
        comparison = compare(&args.daemon)?;
    }
    if args.json {
        output::print(&output::json_line(&comparison)?)?;
    } else {
        let canvas = Canvas::of_stdout(args.wide);
        output::print_screen(&diff::screen(&comparison, &canvas))?;
    }
    Ok(match comparison.equal {
        true => Exit::Done,
        false => Exit::Failed,
    })
}

fn compare(daemon: &DaemonArgs) -> Result<Comparison, Failure> {
    match ask_daemon(daemon, Request::Diff)? {
        Some(Answer::Diff(comparison)) => Ok(*comparison),
        Some(_) => Err(wrong_answer()),
        None => Err(no_daemon(daemon)),
    }
}

/// The screen, or why it is empty.
fn or_else(screen: String, what: &str, args: &DumpArgs, source: Source) -> String {
    match (screen.is_empty(), args.is_filtered(), source) {
        (false, ..) => screen,
        (true, true, _) => format!("{what} is like that\n"),
        (true, false, Source::Daemon) => format!("{what}\n"),
        (true, false, Source::Journal) => "the journal is empty\n".to_owned(),
    }
}

/// The rows of the journal.
fn rows(daemon: &DaemonArgs) -> Result<(Vec<Row>, Source), Failure> {
    loop {
        match ask_daemon(daemon, Request::Dump)? {
            Some(Answer::Dump(rows)) => return Ok((rows, Source::Daemon)),
            Some(_) => return Err(wrong_answer()),
            None => {
                // A daemon may start at this moment; then it is asked.
                if let Some(copy) = history::from_copy(&daemon.state.state_dir)? {
                    let rows = copy.records.iter().flat_map(Row::of).collect();
                    return Ok((rows, Source::Journal));
                }
            }
        }
    }
}

/// The daemon's status; `None` where it has left by now.
fn status(daemon: &DaemonArgs) -> Result<Option<Status>, Failure> {
    match ask_daemon(daemon, Request::Status)? {
        Some(Answer::Status(status)) => Ok(Some(*status)),
        Some(_) => Err(wrong_answer()),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_to_look_for_may_leave_its_protocol_open() {
        assert_eq!(wanted_port("8080"), Ok((8080, None)));
        assert_eq!(wanted_port("53/udp"), Ok((53, Some(Proto::Udp))));
        for text in ["", "0", "65536", "web", "80/", "80/icmp"] {
            let why = wanted_port(text).expect_err(text);
            assert!(why.contains("such as 8080 or 53/udp"), "{why}");
        }
    }
}

//! `status`: what the daemon is doing, on one screen.

use super::args::ReadArgs;
use super::places::{self, Asked};
use super::{Exit, Failure};
use crate::control::protocol::{Answer, Request};
use crate::control::status::{State, Status, Told};
use crate::model::text::{Untrusted, escape};

pub(super) fn run(args: &ReadArgs) -> Result<Exit, Failure> {
    let status = match places::ask(&args.state.state_dir, Request::Status)? {
        Asked::NotRunning => {
            return Err(Failure::because(
                Exit::Held,
                format!(
                    "no daemon runs with the state directory {}",
                    args.state.state_dir.display()
                ),
            ));
        }
        Asked::Answered(Answer::Status(status)) => status,
        Asked::Answered(_) => {
            return Err(Failure::because(
                Exit::Failed,
                "the daemon answered something else",
            ));
        }
    };
    let text = if args.json {
        super::json_line(&status)?
    } else {
        screen(&status)
    };
    super::print(&text)?;
    Ok(match status.state {
        State::Running => Exit::Done,
        State::Starting | State::Degraded | State::Stopping => Exit::Failed,
    })
}

fn screen(status: &Status) -> String {
    let state = match status.state {
        State::Starting => "starting",
        State::Running => "running",
        State::Degraded => "degraded",
        State::Stopping => "stopping",
    };
    let uptime = humantime::format_duration(std::time::Duration::from_secs(status.uptime_s));
    let docker = match (&status.docker.api_version, status.docker.connected) {
        (Some(api), true) => format!("connected, API {}", Untrusted::new(api.as_str())),
        (_, true) => "connected".to_owned(),
        (_, false) => "not connected".to_owned(),
    };
    let mut lines = vec![
        format!("state    {state}, process {}, up {uptime}", status.pid),
        format!("docker   {docker}"),
        format!("backend  {}", status.backend),
        format!(
            "open     {} published ports, {} rules in the kernel",
            status.forwards, status.rules
        ),
        format!(
            "journal  {} records, generation {}",
            status.journal.records, status.journal.generation
        ),
        format!(
            "repairs  {} rules that somebody else had changed, {} full comparisons",
            status.drift_repairs, status.resyncs
        ),
    ];
    if let Some(native) = status.native.as_ref().filter(|n| n.state != "off") {
        let what = match native.state.as_str() {
            "on" => "is on: standing by",
            _ => "may be on: adding nothing until that is known",
        };
        let served = native.served;
        lines.push(format!(
            "native   Docker's own IPv6 NAT {what}, {served} published ports served"
        ));
        let audit = [
            (&native.unserved, "not served"),
            (&native.stray, "served, but not published"),
            (&native.closed, "served, though a label closes it"),
        ];
        for (ports, what) in audit {
            let line = |port: &String| format!("native   {what}: {}", escape(port.chars()));
            lines.extend(ports.iter().map(line));
        }
    }
    for Told { id, what, remedy } in &status.problems {
        let (id, what) = (escape(id.chars()), escape(what.chars()));
        lines.push(format!("trouble  {id}: {what}"));
        let remedy = remedy.iter().map(|remedy| escape(remedy.chars()));
        lines.extend(remedy.map(|remedy| format!("do       {remedy}")));
    }
    if let Some(what) = status.waiting_for.as_ref() {
        lines.push(format!("waiting  for {}", escape(what.chars())));
    }
    for container in &status.unanswered {
        lines.push(format!(
            "waiting  {container}: Docker has not said yet what it publishes"
        ));
    }
    for skipped in &status.skipped {
        lines.push(format!("closed   {skipped}"));
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::control::status::{Board, Reporter};

    #[test]
    fn the_screen_says_what_is_wrong() {
        let now = Instant::now();
        let board = Board::new(now, "ip6tables".into());
        board.lock().ready = true;
        board.lock().set_troubles(
            Reporter::Docker,
            vec!["Docker is not reachable: gone".into()],
        );
        let screen = screen(&board.status(now));
        assert!(
            screen.starts_with("state    degraded, process "),
            "{screen}"
        );
        assert!(screen.contains("\ndocker   not connected\n"), "{screen}");
        assert!(
            screen.ends_with("\ntrouble  docker: Docker is not reachable: gone\n"),
            "{screen}"
        );
    }
}

//! `status`: what the daemon is doing, on one screen.

use std::fmt::Write as _;

use anstyle::Style;

use super::lines::{SHELL, broken};
use super::{BAD, Canvas, GOOD, ODD, paint, span};
use crate::cli::backends::{ASKED_FOR, MANY};
use crate::control::resync::{LastResync, ResyncReason};
use crate::control::status::{DaemonState, DockerNatFigures, LastChange, PortChange, Status};
use crate::docker_nat::gate::StandbyState;
use crate::model::rule::BackendKind;
use crate::model::text::{Untrusted, escape};

/// How many ports or containers a list names before it only counts.
const NAMED: usize = 20;

/// The screen. What comes from Docker or from errors is escaped.
pub(in crate::cli) fn screen(status: &Status, canvas: &Canvas) -> String {
    let mut text = heading(status, canvas);
    let mut line = |label: &str, what: &str| {
        text.push_str(&broken(&format!("  {label:<8}  "), what, "", canvas.width));
    };
    line("open", &open(status));
    let prefixes = match status.prefixes.is_empty() {
        true => "none".to_owned(),
        false => status.prefixes.join(", "),
    };
    let egress = format!("{}; prefixes {prefixes}", egress(status));
    line("egress", &egress);
    line("backend", &backend(status));
    line("docker", &docker(status, canvas));
    line("last", &last(status, canvas));
    line("repaired", &repaired(status, canvas));
    let native = status.native.as_ref();
    for what in native.map(native_lines).unwrap_or_default() {
        line("native", &what);
    }
    text.push_str(&problems(status, canvas));
    text.push_str(&waiting(status, canvas));
    text.push_str(&unexpected(status, canvas));
    text
}

fn heading(status: &Status, canvas: &Canvas) -> String {
    let (state, style) = match status.state {
        DaemonState::Starting => ("starting".to_owned(), ODD),
        DaemonState::Running => ("healthy".to_owned(), GOOD),
        DaemonState::Degraded => {
            let since = status.degraded_since;
            let since = since.map(|then| format!(" for {}", canvas.ago(then)));
            (format!("DEGRADED{}", since.unwrap_or_default()), BAD)
        }
        DaemonState::Stopping => ("stopping".to_owned(), ODD),
    };
    let (version, pid) = (safe(&status.version), status.pid);
    let up = span::long(status.uptime_s);
    let state = paint(style, &state);
    format!("docker-nat66 {version}   {state}   process {pid}, up {up}\n")
}

/// `1 port`, `2 ports`.
fn count(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn open(status: &Status) -> String {
    let closed = match status.closed.len() {
        0 => String::new(),
        closed => format!("; {closed} closed (`docker-nat66 dump` names them)"),
    };
    let mut text = match status.forwards {
        0 => "no port".to_owned(),
        ports => {
            let containers = count(status.containers, "container");
            format!("{} of {containers}", count(ports, "port"))
        }
    };
    text.push_str(&closed);
    text
}

fn egress(status: &Status) -> String {
    let one = |dev: &crate::control::status::EgressFigures| {
        let addresses = dev.addresses.iter().map(|addr| format!(", {addr}"));
        let none = match dev.addresses.is_empty() {
            true => " (no address)",
            false => "",
        };
        format!("{}{none}{}", safe(&dev.dev), addresses.collect::<String>())
    };
    match status.egress.is_empty() {
        true => "no interface".to_owned(),
        false => {
            let all: Vec<String> = status.egress.iter().map(one).collect();
            all.join("; ")
        }
    }
}

fn backend(status: &Status) -> String {
    let mut text = safe(&status.backend);
    if !status.backend_variant.is_empty() {
        let _ = write!(text, ", {}", safe(&status.backend_variant));
    }
    if !status.backend_reason.is_empty() {
        let _ = write!(text, "; chosen: {}", safe(&status.backend_reason));
    }
    let records = status.journal.records;
    let _ = write!(text, "; {}, ", count(status.rules, "rule"));
    let _ = write!(text, "{} in the journal", count(records, "record"));
    let is_ip6tables = status.backend == BackendKind::Ip6tables.to_string();
    let is_automatic = status.backend_reason != ASKED_FOR;
    if is_ip6tables && is_automatic && status.forwards > MANY {
        let _ = write!(
            text,
            "; slow for so many ports: a restart chooses nftables, unless something drops in FORWARD"
        );
    }
    text
}

fn docker(status: &Status, canvas: &Canvas) -> String {
    let docker = &status.docker;
    let versions = match (&docker.engine_version, &docker.api_version) {
        (Some(engine), Some(api)) => format!("{}, API {}, ", safe(engine), safe(api)),
        (None, Some(api)) => format!("API {}, ", safe(api)),
        (_, None) => String::new(),
    };
    let since = docker.connected_since;
    let is = match (docker.connected, since) {
        (true, Some(then)) => {
            format!("connected for {}", span::long(then.secs_until(canvas.now)))
        }
        (true, None) => "connected".to_owned(),
        (false, _) => "not connected".to_owned(),
    };
    format!("{versions}{is}")
}

fn last(status: &Status, canvas: &Canvas) -> String {
    let change = status.last_change.as_ref();
    let change = change.map_or_else(
        || "no change since the start".to_owned(),
        |change| last_change(change, canvas),
    );
    let resync = status.last_resync.as_ref();
    let resync = resync.map_or_else(
        || "no resync yet".to_owned(),
        |resync| last_resync(resync, canvas),
    );
    format!("{change}; {resync}")
}

fn last_change(change: &LastChange, canvas: &Canvas) -> String {
    let what = match change.change {
        PortChange::Opened => "opened",
        PortChange::Moved => "moved",
        PortChange::Closed => "closed",
    };
    let whose = match change.change {
        PortChange::Opened => "for",
        PortChange::Moved => "to",
        PortChange::Closed => "of",
    };
    let others = match change.others {
        0 => String::new(),
        others => format!(" and {}", count(others, "other")),
    };
    let took = change
        .after_us
        .map(|us| format!(" in {}", span::millis(us)));
    format!(
        "{} ago {what} {} {whose} {}{others}{}",
        canvas.ago(change.at),
        safe(&change.port),
        canvas.name(&change.container),
        took.unwrap_or_default()
    )
}

fn last_resync(resync: &LastResync, canvas: &Canvas) -> String {
    let reason = match resync.reason {
        ResyncReason::FirstList => "first list",
        ResyncReason::Ready => "start",
        ResyncReason::Timer => "timer",
        ResyncReason::RulesChanged => "rules changed",
        ResyncReason::Requested => "asked for",
    };
    let did = match resync.repaired {
        0 => "nothing to do".to_owned(),
        rules => format!("put {} right", count(rules, "rule")),
    };
    format!("resync {} ago ({reason}): {did}", canvas.ago(resync.at))
}

fn repaired(status: &Status, canvas: &Canvas) -> String {
    let repairs = usize::try_from(status.drift_repairs).unwrap_or(usize::MAX);
    let last = status.last_repair;
    let last = last.map(|then| format!(", last {} ago", canvas.ago(then)));
    let (last, failed) = (last.unwrap_or_default(), status.failed_rounds);
    let lost = status.log_lines_lost;
    let rules = count(repairs, "rule");
    format!("{rules} since the start{last}; {failed} failed; log lines lost: {lost}")
}

fn native_lines(nat: &DockerNatFigures) -> Vec<String> {
    let what = match nat.state {
        StandbyState::Off => return Vec::new(),
        StandbyState::On => "is on: standing by",
        StandbyState::Unsettled => "may be on: adding nothing until that is known",
    };
    let served = count(nat.served, "published port");
    let mut lines = vec![format!("Docker's own IPv6 NAT {what}, {served} served")];
    let lists = [
        (&nat.unserved, "not served"),
        (&nat.stray, "served, but not published"),
        (&nat.closed, "served, though a label closes it"),
    ];
    for (ports, what) in lists {
        let all = ports.iter().map(|port| format!("{what}: {}", safe(port)));
        lines.extend(all.take(NAMED));
        lines.extend(more(ports.len()).map(|more| format!("{what}: {more}")));
    }
    lines
}

/// How many are left unnamed.
fn more(all: usize) -> Option<String> {
    let more = all.checked_sub(NAMED).filter(|more| *more > 0)?;
    Some(format!(
        "{more} more (`docker-nat66 status --json` has them)"
    ))
}

fn problems(status: &Status, canvas: &Canvas) -> String {
    let widest = status.problems.iter().map(|p| p.id.len()).max();
    let widest = widest.unwrap_or_default();
    let mut text = String::new();
    for problem in &status.problems {
        let id = safe(&problem.id);
        let what = escape(problem.what.chars());
        let head = format!("fail  {id:<widest$}  ");
        text.push_str(&colour_first(&broken(&head, &what, "", canvas.width), BAD));
        if let Some(remedy) = &problem.remedy {
            let head = format!("      {:<widest$}  ", "do");
            let remedy = escape(remedy.chars());
            text.push_str(&broken(&head, &remedy, SHELL, canvas.width));
        }
    }
    text
}

/// The first word of a line in a style.
fn colour_first(line: &str, style: Style) -> String {
    match line.split_once(' ') {
        Some((word, rest)) => format!("{} {rest}", paint(style, word)),
        None => line.to_owned(),
    }
}

fn waiting(status: &Status, canvas: &Canvas) -> String {
    let start = status.waiting_for.as_ref();
    let start = start.map(|what| format!("for {}", escape(what.chars())));
    let all = status.unanswered.iter().map(|container| {
        let container = escape(container.chars());
        format!("{container}: Docker has not said yet what it publishes")
    });
    let all = all.take(NAMED);
    let lines = start
        .into_iter()
        .chain(all)
        .chain(more(status.unanswered.len()));
    let line = |what: String| colour_first(&broken("wait  ", &what, "", canvas.width), ODD);
    lines.map(line).collect()
}

/// Closed ports that an operator did not expect to be closed.
fn unexpected(status: &Status, canvas: &Canvas) -> String {
    let all = status.closed.iter().filter(|closed| closed.unexpected);
    let all: Vec<String> = all
        .map(|closed| {
            let port = closed.port.zip(closed.proto.as_deref());
            let port = port.map(|(port, proto)| format!("{port}/{} of ", safe(proto)));
            let (name, reason) = (
                canvas.name(&closed.container_name),
                escape(closed.reason.chars()),
            );
            format!(
                "{}container {name} closed: {reason}",
                port.unwrap_or_default()
            )
        })
        .collect();
    let further = more(all.len());
    let lines = all.into_iter().take(NAMED).chain(further);
    let line = |what: String| colour_first(&broken("warn  ", &what, "", canvas.width), ODD);
    lines.map(line).collect()
}

fn safe(text: &str) -> String {
    Untrusted::new(text).to_string()
}

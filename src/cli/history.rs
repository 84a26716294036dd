//! `dump --history`: what was open, from the running daemon; or, if none runs, from a copy of the
//! journal.

mod fetch;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use serde::Serialize;

pub(super) use self::fetch::from_copy;
use self::fetch::{Fetched, fetch};
use super::args::DaemonArgs;
use super::failure::{Exit, Failure};
use super::output;
use super::screen::Canvas;
use super::screen::history::{self, Chain, Interval};
use crate::control::moment::Moment;
use crate::control::row::Row;
use crate::journal::history::chain::Link;
use crate::journal::history::closing::{Closing, EndReason, Loss, PortRun};
use crate::journal::history::past::Past;
use crate::model::forward::{Owner, Proto};
use crate::model::rule::HostPort;

/// Version of the shape of a row.
const VERSION: u32 = 1;

/// A moment in the past as the user gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PastMoment {
    /// So long ago.
    Ago(Duration),
    /// Then.
    At(Moment),
}

impl PastMoment {
    /// Reads `2h` or a time of RFC 3339.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Ok(ago) = humantime::parse_duration(text) {
            return Ok(Self::Ago(ago));
        }
        let moment = serde_json::from_value(text.into()).map(Self::At);
        moment.map_err(|_| {
            "this is neither a time nor how long ago; give it such as 2026-11-30T09:08:02Z, or 2h"
                .to_owned()
        })
    }

    fn moment(self, now: Moment) -> Moment {
        match self {
            Self::Ago(ago) => Moment::from_secs(now.as_secs().saturating_sub(ago.as_secs())),
            Self::At(moment) => moment,
        }
    }
}

/// What of the history is wanted.
pub(super) struct Query<'q> {
    /// Only what was open then, or later.
    pub(super) since: Option<PastMoment>,
    /// Only what was open then.
    pub(super) at: Option<PastMoment>,
    /// Only this port.
    pub(super) port: Option<(u16, Option<Proto>)>,
    /// Only containers that this names.
    pub(super) is_container: &'q dyn Fn(&str, &str) -> bool,
    /// Print objects.
    pub(super) json: bool,
    /// Shorten nothing.
    pub(super) wide: bool,
}

impl Query<'_> {
    /// The part of an interval that is wanted.
    fn wanted(&self, interval: Interval, now: Moment) -> Option<Interval> {
        let (from, to) = (interval.from, interval.to.map(|(to, _)| to));
        let ended_before = |moment: Moment| to.is_some_and(|to| to < moment);
        let since = self.since.map(|since| since.moment(now));
        let at = self.at.map(|at| at.moment(now));
        if since.is_some_and(ended_before) || at.is_some_and(|at| from > at || ended_before(at)) {
            return None;
        }
        let (name, id) = match &interval.container {
            Some(owner) => (owner.container_name.raw(), owner.container_id.as_str()),
            None => ("", ""),
        };
        if !(self.is_container)(name, id) {
            return None;
        }
        let Some((port, proto)) = self.port else {
            return Some(interval);
        };
        let run = interval.run;
        let further = port.checked_sub(run.first.port)?;
        let is_it = port <= run.last && proto.is_none_or(|proto| proto == run.first.proto);
        is_it.then(|| Interval {
            run: PortRun {
                first: HostPort { port, ..run.first },
                last: port,
                to: run.to + further,
            },
            ..interval
        })
    }
}

pub(super) fn run(query: &Query<'_>, daemon: &DaemonArgs) -> Result<Exit, Failure> {
    let Fetched {
        stored,
        rows,
        before,
    } = fetch(daemon)?;
    let past = Past::read(&stored);
    let chain = Chain {
        first: stored.anchor.number + 1,
        head: stored.head,
        broken: past.broken.clone(),
        losses: past.losses.clone(),
    };
    let canvas = Canvas::of_stdout(query.wide);
    let all = intervals(&past, &rows, before);
    let wanted = all.into_iter();
    let wanted: Vec<Interval> = wanted
        .filter_map(|it| query.wanted(it, canvas.now))
        .collect();
    if query.json {
        output::print(&json(&wanted, &chain)?)?;
    } else {
        output::print_screen(&history::screen(&wanted, &chain, &canvas))?;
    }
    Ok(match chain.broken {
        None => Exit::Done,
        Some(_) => Exit::Failed,
    })
}

/// What was open before, and then what is. `before` is the newest entry that was there before the rows were
/// read.
fn intervals(past: &Past, rows: &[Row], before: u64) -> Vec<Interval> {
    // A container that took over a rule of another has had it since then, though the rule is older.
    let mut taken: BTreeMap<HostPort, Moment> = BTreeMap::new();
    let since = |taken: &BTreeMap<HostPort, Moment>, port: &HostPort, from: Moment| {
        taken.get(port).map_or(from, |since| from.max(*since))
    };
    let mut all = Vec::new();
    let mut closed: BTreeMap<_, Vec<PortRun>> = BTreeMap::new();
    for (entry, closing) in &past.closings {
        if entry.number > before {
            let key = (closing.container.clone(), closing.addr, closing.from);
            closed.entry(key).or_default().extend(&closing.ports);
        }
        for mut interval in of_closing(*entry, closing) {
            let first = interval.run.first;
            interval.from = since(&taken, &first, interval.from);
            all.push(interval);
            if closing.reason == EndReason::TakenOver {
                let to = Moment::from_secs(closing.to);
                let ports = first.port..=all[all.len() - 1].run.last;
                taken.extend(ports.map(|port| (HostPort { port, ..first }, to)));
            }
        }
    }
    for row in rows {
        let Some(mut open) = of_row(row) else {
            continue;
        };
        // It may have been closed after its row was read.
        let key = (open.container.clone(), open.addr, open.from.as_secs());
        let is_in = |run: &PortRun| {
            let (first, port) = (run.first, open.run.first);
            let is_kin = (first.proto, first.addr) == (port.proto, port.addr);
            is_kin && (first.port..=run.last).contains(&port.port)
        };
        if closed.get(&key).is_some_and(|runs| runs.iter().any(is_in)) {
            continue;
        }
        open.from = since(&taken, &open.run.first, open.from);
        all.push(open);
    }
    all
}

fn of_closing(entry: Link, closing: &Closing) -> impl Iterator<Item = Interval> {
    closing.ports.iter().map(move |run| Interval {
        entry: Some(entry),
        container: closing.container.clone(),
        addr: closing.addr,
        dev: closing.dev.as_ref().map(ToString::to_string),
        source: closing.source.map(|source| source.to_string()),
        run: *run,
        from: Moment::from_secs(closing.from),
        to: Some((Moment::from_secs(closing.to), closing.reason)),
    })
}

/// A port that is open to the outside.
fn of_row(row: &Row) -> Option<Interval> {
    let is_outside = matches!(row.purpose.as_deref(), None | Some("outside"));
    if row.kind != "dnat" || !is_outside || row.state == "intended" {
        return None;
    }
    let first = HostPort {
        proto: row.proto.as_ref()?.parse().ok()?,
        addr: row.host_addr,
        port: row.host_port?,
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let owner = |id: &String| {
        let (name, network) = (text(&row.container_name), text(&row.network));
        Owner::new(id, name.as_str(), network.as_str()).of_image(text(&row.image).as_str())
    };
    Some(Interval {
        entry: None,
        container: row.container_id.as_ref().map(owner),
        addr: row.container_addr?,
        dev: row.dev.clone(),
        source: row.source.clone(),
        run: PortRun {
            first,
            last: first.port,
            to: row.container_port?,
        },
        from: Moment::from_secs(row.inserted_at),
        to: None,
    })
}

/// One port and one time that it was open.
#[derive(Debug, Serialize)]
struct HistoryRow<'r> {
    v: u32,
    /// The entry's number; null: the port is open.
    entry: Option<u64>,
    /// The entry's seal.
    sha256: Option<String>,
    proto: &'static str,
    host_addr: Option<Ipv6Addr>,
    host_port: u16,
    container_addr: Ipv6Addr,
    container_port: u16,
    container_id: Option<&'r str>,
    container_name: Option<&'r str>,
    network: Option<&'r str>,
    image: Option<&'r str>,
    dev: Option<&'r str>,
    source: Option<&'r str>,
    opened: Moment,
    closed: Option<Moment>,
    reason: Option<&'static str>,
}

/// What checking the seals has found: the last object.
#[derive(Debug, Serialize)]
struct ChainRow<'r> {
    v: u32,
    chain: &'static str,
    first: u64,
    newest: u64,
    sha256: String,
    error: Option<&'r str>,
    /// Absent where nothing is lost.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lost: Vec<LossRow<'r>>,
}

/// Entries that were lost when the journal was rebuilt.
#[derive(Debug, Serialize)]
struct LossRow<'r> {
    /// The number of the entry that says so.
    entry: u64,
    at: Moment,
    /// The first and the last of them; null: not known.
    first: Option<u64>,
    last: Option<u64>,
    reason: &'r str,
}

fn loss_row((link, loss): &(Link, Loss)) -> LossRow<'_> {
    LossRow {
        entry: link.number,
        at: Moment::from_secs(loss.at),
        first: loss.entries.map(|(first, _)| first),
        last: loss.entries.map(|(_, last)| last),
        reason: &loss.why,
    }
}

fn json(intervals: &[Interval], chain: &Chain) -> Result<String, Failure> {
    let mut lines = String::new();
    for interval in intervals {
        let (run, owner) = (&interval.run, interval.container.as_ref());
        for further in 0..=run.last - run.first.port {
            lines.push_str(&output::json_line(&HistoryRow {
                v: VERSION,
                entry: interval.entry.map(|entry| entry.number),
                sha256: interval.entry.map(|entry| entry.hex()),
                proto: run.first.proto.as_str(),
                host_addr: run.first.addr,
                host_port: run.first.port + further,
                container_addr: interval.addr,
                container_port: run.to + further,
                container_id: owner.map(|owner| owner.container_id.as_str()),
                container_name: owner.map(|owner| owner.container_name.raw()),
                network: owner.map(|owner| owner.network.raw()),
                image: owner.map(|it| it.image.raw()).filter(|it| !it.is_empty()),
                dev: interval.dev.as_deref(),
                source: interval.source.as_deref(),
                opened: interval.from,
                closed: interval.to.map(|(to, _)| to),
                reason: interval.to.map(|(_, reason)| reason.as_str()),
            })?);
        }
    }
    let error = chain.broken.as_deref();
    lines.push_str(&output::json_line(&ChainRow {
        v: VERSION,
        chain: if error.is_none() { "whole" } else { "broken" },
        first: chain.first,
        newest: chain.head.number,
        sha256: chain.head.hex(),
        error,
        lost: chain.losses.iter().map(loss_row).collect(),
    })?);
    Ok(lines)
}

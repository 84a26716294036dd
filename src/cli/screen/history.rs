//! `dump --history`: one line for each port, or range of ports, and each time that it was open.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use super::forwards::{container, dash, safe};
use super::lines::broken;
use super::table::{Cell, Column, Cut, table};
use super::{BAD, Canvas, GOOD, paint, ports};
use crate::control::moment::Moment;
use crate::journal::history::chain::Link;
use crate::journal::history::closing::{EndReason, Loss, PortRun};
use crate::model::forward::Owner;

const COLUMNS: [Column; 7] = [
    ("PORT", Cut::Middle, 3, 12),
    ("CONTAINER", Cut::Middle, 1, 11),
    ("IMAGE", Cut::Middle, 1, 8),
    ("ADDRESS", Cut::Middle, 0, 10),
    ("OPENED", Cut::Never, 0, 0),
    ("CLOSED", Cut::Never, 0, 0),
    ("WHY", Cut::Never, 0, 0),
];

/// Ports of a container that were open for a time, or are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Interval {
    /// The entry of the history; `None`: the ports are open.
    pub(in crate::cli) entry: Option<Link>,
    /// The container; `None` where it was not known.
    pub(in crate::cli) container: Option<Owner>,
    /// Its address.
    pub(in crate::cli) addr: Ipv6Addr,
    /// The interface; `None`: all.
    pub(in crate::cli) dev: Option<String>,
    /// Who could use them; `None`: everybody.
    pub(in crate::cli) source: Option<String>,
    /// The ports.
    pub(in crate::cli) run: PortRun,
    /// When they were opened.
    pub(in crate::cli) from: Moment,
    /// When they were closed, and why; `None`: they are open.
    pub(in crate::cli) to: Option<(Moment, EndReason)>,
}

/// What checking the seals has found.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Chain {
    /// The number of the first entry.
    pub(in crate::cli) first: u64,
    /// The newest entry.
    pub(in crate::cli) head: Link,
    /// Where the chain breaks; `None`: it is whole.
    pub(in crate::cli) broken: Option<String>,
    /// What was lost when the journal was rebuilt, and the entries that say so.
    pub(in crate::cli) losses: Vec<(Link, Loss)>,
}

/// The screen: what was closed first comes first, and what is open last.
pub(in crate::cli) fn screen(intervals: &[Interval], chain: &Chain, canvas: &Canvas) -> String {
    let mut intervals = merged(intervals);
    intervals.sort_by_key(order);
    let lines: Vec<Vec<Cell>> = intervals.iter().map(|it| line(it, canvas)).collect();
    let mut text = match lines.is_empty() {
        true => "nothing was open\n".to_owned(),
        false => table(&COLUMNS, &lines, canvas.width),
    };
    for (_, loss) in &chain.losses {
        let at = Moment::from_secs(loss.at);
        let at = match canvas.width {
            Some(_) => format!("{} ago", canvas.ago(at)),
            None => format!("at {at}"),
        };
        let what = format!("{at} the journal was built anew; {loss}");
        let lines = broken("LOST    ", &what, "", canvas.width);
        text.push_str(&lines.replacen("LOST", &paint(BAD, "LOST"), 1));
    }
    text.push_str(&footer(chain, canvas));
    text
}

fn footer(chain: &Chain, canvas: &Canvas) -> String {
    let (first, head) = (chain.first, &chain.head);
    if let Some(how) = &chain.broken {
        let what = format!(
            "{how}: the history was altered, or is damaged, and from there on it is nothing to rely on"
        );
        return broken("BROKEN  ", &what, "", canvas.width).replacen(
            "BROKEN",
            &paint(BAD, "BROKEN"),
            1,
        );
    }
    let what = match head.number {
        0 => "no entry yet".to_owned(),
        newest if first > newest => "all entries are cut off".to_owned(),
        newest => {
            let is_lost = chain.losses.iter().any(|(link, _)| link.number == first);
            let older = match first {
                2.. if !is_lost => "; older ones are cut off",
                _ => "",
            };
            let seal = head.hex();
            format!("entries {first} to {newest}{older}; seal of the newest: {seal}")
        }
    };
    let mut text = broken("sealed  ", &what, "", canvas.width);
    let limit = "a journal that was put back whole to an earlier state looks like this, too: the log has \
                 the newest seal once an hour and at a clean end";
    text.push_str(&broken("        ", limit, "", canvas.width));
    text
}

/// The order of lines: open ones have no end, and come behind all others.
type Order = (bool, Option<Moment>, Moment, u16);

fn order(interval: &Interval) -> Order {
    let to = interval.to.map(|(to, _)| to);
    (to.is_none(), to, interval.from, interval.run.first.port)
}

fn line(interval: &Interval, canvas: &Canvas) -> Vec<Cell> {
    let time = |then: Moment| match canvas.width {
        Some(_) => canvas.ago(then),
        None => then.to_string(),
    };
    let run = &interval.run;
    let mut port = ports::range(run.first.port, run.last, run.first.proto.as_str());
    if let Some(addr) = run.first.addr {
        port = format!("[{addr}]:{port}");
    }
    let owner = interval.container.as_ref();
    let name = match owner {
        Some(owner) => container(Some(owner.container_name.raw()), Some(&owner.container_id)),
        None => dash(),
    };
    let last = run.to + (run.last - run.first.port);
    let inside = match last == run.to {
        true => run.to.to_string(),
        false => format!("{}-{last}", run.to),
    };
    let (closed, why) = match interval.to {
        Some((to, reason)) => (time(to).into(), reason.words()),
        None => (Cell::styled("open", GOOD), ""),
    };
    vec![
        port.into(),
        format!("{name}:{inside}").into(),
        image(owner, canvas).into(),
        interval.addr.to_string().into(),
        time(interval.from).into(),
        closed,
        why.into(),
    ]
}

/// The image as `docker ps` shows it: without a digest, and of an id the first twelve digits.
fn image(owner: Option<&Owner>, canvas: &Canvas) -> String {
    let Some(image) = owner.map(|it| it.image.raw()).filter(|it| !it.is_empty()) else {
        return dash();
    };
    if canvas.width.is_none() {
        return safe(image);
    }
    match image.split_once("sha256:") {
        Some(("", id)) => safe(&id.chars().take(12).collect::<String>()),
        Some((name, _)) if name.len() > 1 => safe(name.strip_suffix('@').unwrap_or(image)),
        _ => safe(image),
    }
}

/// Neighbouring ports as one line, and one line where only interfaces or sources differ.
fn merged(intervals: &[Interval]) -> Vec<Interval> {
    let common = |it: &Interval| {
        let port = it.run.first;
        let owner = it.container.clone();
        (owner, it.addr, port.proto, port.addr, it.from, it.to)
    };
    let mut groups: BTreeMap<_, Vec<&Interval>> = BTreeMap::new();
    for interval in intervals {
        groups.entry(common(interval)).or_default().push(interval);
    }
    let mut merged: Vec<Interval> = Vec::new();
    for mut group in groups.into_values() {
        group.sort_by_key(|it| (it.run.first.port, it.run.last));
        let at = merged.len();
        for interval in group {
            match merged[at..]
                .last_mut()
                .filter(|last| follows(&last.run, &interval.run))
            {
                Some(last) => last.run.last = last.run.last.max(interval.run.last),
                None => merged.push(interval.clone()),
            }
        }
    }
    merged
}

/// Whether a run goes on where another ends, or in it.
fn follows(run: &PortRun, next: &PortRun) -> bool {
    let further = next.first.port.checked_sub(run.first.port);
    let is_near = next.first.port <= run.last.saturating_add(1);
    is_near && further.is_some() && further == next.to.checked_sub(run.to)
}

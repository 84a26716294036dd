//! `dump`: one line per published port, of those that are open and of those that are not.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use anstyle::Style;

use super::lines::broken;
use super::table::{Cell, Column, Cut, table};
use super::{Canvas, GOOD, ODD, ports};
use crate::control::moment::Moment;
use crate::control::row::Row;
use crate::control::status::ClosedPort;
use crate::model::text::{Untrusted, escape};

const COLUMNS: [Column; 6] = [
    ("PORT", Cut::Middle, 3, 12),
    ("CONTAINER", Cut::Middle, 1, 16),
    ("NETWORK", Cut::End, 0, 7),
    ("FROM", Cut::End, 2, 10),
    ("STATE", Cut::Never, 0, 0),
    ("SINCE", Cut::End, 2, 12),
];

/// Whose word the rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Source {
    /// The running daemon's.
    Daemon,
    /// The journal's, left by a daemon that does not run any more.
    Journal,
}

/// The screen.
pub(in crate::cli) fn screen(
    rows: &[Row],
    closed: &[ClosedPort],
    source: Source,
    canvas: &Canvas,
) -> String {
    let mut lines = merged(forwards(rows, source, canvas));
    lines.extend(grouped(closed, canvas));
    lines.sort_by(|(a, _), (b, _)| a.cmp(b));
    let lines: Vec<Vec<Cell>> = lines.into_iter().map(|(_, line)| line).collect();
    if lines.is_empty() {
        return String::new();
    }
    let mut text = table(&COLUMNS, &lines, canvas.width);
    for closed in closed.iter().filter(|closed| closed.unexpected) {
        let name = canvas.name(&closed.container_name);
        let why = format!("container {name}: {}", escape(closed.reason.chars()));
        text.push_str(&broken("closed  ", &why, "", canvas.width));
    }
    text
}

/// Where a line stands among the others: by its first port, with that one's protocol and address.
/// Containers that are closed as a whole come last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    Port(u16, String, Option<Ipv6Addr>),
    Whole,
}

/// What a reader must know beside the table: `served` is how many published ports Docker's own IPv6 NAT
/// serves, where it is on.
pub(in crate::cli) fn note(source: Source, served: Option<usize>, canvas: &Canvas) -> String {
    let note = match (source, served) {
        (Source::Journal, _) => "no daemon runs: this is what the last one left in its journal, \
                                 without a look at the kernel"
            .to_owned(),
        (Source::Daemon, Some(served)) => format!(
            "Docker's own IPv6 NAT is on, and serves {served} of the published ports itself"
        ),
        (Source::Daemon, None) => return String::new(),
    };
    broken("", &note, "", canvas.width)
}

/// One published port that is open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Open {
    port: u16,
    proto: String,
    addr: Option<Ipv6Addr>,
    /// The last one, where several in a row make a range.
    last: u16,
    container_port: u16,
    last_container_port: u16,
    container: String,
    network: String,
    from: String,
    state: &'static str,
    since: String,
}

/// All rules of a published port make one forward.
fn forwards(rows: &[Row], source: Source, canvas: &Canvas) -> Vec<Open> {
    let mut rules: BTreeMap<_, Vec<&Row>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.kind == "dnat") {
        if let (Some(port), Some(proto)) = (row.host_port, &row.proto) {
            let key = (port, proto.as_str(), row.host_addr);
            rules.entry(key).or_default().push(row);
        }
    }
    let forward = |((port, proto, addr), rules): ((u16, &str, Option<Ipv6Addr>), Vec<&Row>)| {
        let shown = rules.iter().min_by_key(|row| place(row))?;
        let container_port = shown.container_port?;
        let since = rules.iter().map(|row| row.inserted_at).min()?;
        Some(Open {
            port,
            proto: proto.to_owned(),
            addr,
            last: port,
            container_port,
            last_container_port: container_port,
            container: container(
                shown.container_name.as_deref(),
                shown.container_id.as_deref(),
            ),
            network: shown.network.as_deref().map_or_else(dash, safe),
            from: from(&rules, canvas.width.is_none()),
            state: state(&rules, source),
            since: canvas.ago(Moment::from_secs(since)),
        })
    };
    rules.into_iter().filter_map(forward).collect()
}

/// Which row stands for a forward whose target is being replaced: one that is in the kernel, and of
/// those the newest.
fn place(row: &Row) -> (bool, Reverse<u64>) {
    (row.state != "applied", Reverse(row.inserted_at))
}

/// What the rows say of a forward. Without a daemon, the kernel was not listed.
fn state(rules: &[&Row], source: Source) -> &'static str {
    let is = |state: &str| rules.iter().any(|row| row.state == state);
    match source {
        Source::Journal => "recorded",
        Source::Daemon if is("intended") => "opening",
        Source::Daemon if is("removing") => "closing",
        Source::Daemon => "open",
    }
}

/// Who may use it, by the rules for requests from outside: all sources, or the first and how many
/// others there are.
fn from(rules: &[&Row], all: bool) -> String {
    let is_outside = |row: &&&Row| matches!(row.purpose.as_deref(), None | Some("outside"));
    let sources: BTreeSet<Option<&str>> = rules
        .iter()
        .filter(is_outside)
        .map(|row| row.source.as_deref())
        .collect();
    if sources.is_empty() {
        return "inside".to_owned();
    }
    let sources: Option<Vec<&str>> = sources.into_iter().collect();
    match sources.as_deref() {
        None => "any".to_owned(),
        Some([first, others @ ..]) if !all && !others.is_empty() => {
            format!("{first} +{}", others.len())
        }
        Some(sources) => sources.join(","),
    }
}

/// Lines, in which neighbours that differ in nothing else are one range.
fn merged(forwards: Vec<Open>) -> Vec<(Order, Vec<Cell>)> {
    let mut ranges: Vec<Open> = Vec::new();
    // The last range of each kind.
    let mut newest: BTreeMap<Open, usize> = BTreeMap::new();
    for open in forwards {
        let kind = Open {
            port: 0,
            last: 0,
            // Equal for ports that lie as far from each other on both sides.
            container_port: open.container_port.wrapping_sub(open.port),
            last_container_port: 0,
            ..open.clone()
        };
        if let Some(at) = newest.get(&kind)
            && ranges[*at].last.checked_add(1) == Some(open.port)
        {
            ranges[*at].last = open.port;
            ranges[*at].last_container_port = open.container_port;
            continue;
        }
        newest.insert(kind, ranges.len());
        ranges.push(open);
    }
    ranges
        .into_iter()
        .map(|open| {
            let order = Order::Port(open.port, open.proto.clone(), open.addr);
            (order, open.line())
        })
        .collect()
}

impl Open {
    fn line(self) -> Vec<Cell> {
        let mut port = ports::range(self.port, self.last, &self.proto);
        if let Some(addr) = self.addr {
            port = format!("[{addr}]:{port}");
        }
        let container_port = match self.container_port == self.last_container_port {
            true => self.container_port.to_string(),
            false => format!("{}-{}", self.container_port, self.last_container_port),
        };
        let style = match self.state {
            "open" => GOOD,
            _ => ODD,
        };
        vec![
            port.into(),
            format!("{}:{container_port}", self.container).into(),
            self.network.into(),
            self.from.into(),
            Cell::styled(self.state, style),
            self.since.into(),
        ]
    }
}

/// Closed ports: one line for each container and reason, which stands in full only where there is room.
fn grouped(closed: &[ClosedPort], canvas: &Canvas) -> Vec<(Order, Vec<Cell>)> {
    let mut groups: BTreeMap<(&str, &str), Vec<&ClosedPort>> = BTreeMap::new();
    for port in closed {
        let key = (port.container_id.as_str(), port.brief.as_str());
        groups.entry(key).or_default().push(port);
    }
    let line = |((id, brief), all): ((&str, &str), Vec<&ClosedPort>)| {
        let named = all
            .iter()
            .filter_map(|c| Some((c.port?, c.proto.as_deref()?)));
        let named: Vec<(u16, &str)> = named.collect();
        let (order, text) = match named.iter().min() {
            Some((port, proto)) => {
                let order = Order::Port(*port, (*proto).to_owned(), None);
                (order, ports::list(named))
            }
            None => (Order::Whole, "all".to_owned()),
        };
        let name = all.first().map(|c| c.container_name.as_str());
        let full = all.first().map(|c| c.reason.as_str());
        let reason = full.filter(|_| canvas.width.is_none()).unwrap_or(brief);
        let style = match all.iter().any(|c| c.unexpected) {
            true => ODD,
            false => Style::new().dimmed(),
        };
        let line = vec![
            safe(&text).into(),
            container(name, Some(id)).into(),
            dash().into(),
            dash().into(),
            Cell::styled("closed", style),
            escape(reason.chars()).into(),
        ];
        (order, line)
    };
    groups.into_iter().map(line).collect()
}

/// A container by its name, or where it has none by the first digits of its id.
pub(super) fn container(name: Option<&str>, id: Option<&str>) -> String {
    match (name.filter(|name| !name.is_empty()), id) {
        (Some(name), _) => safe(name),
        (None, Some(id)) => safe(&id.chars().take(12).collect::<String>()),
        (None, None) => dash(),
    }
}

pub(super) fn safe(text: &str) -> String {
    Untrusted::new(text).to_string()
}

pub(super) fn dash() -> String {
    "-".to_owned()
}

//! `dump`: the journal, from the running daemon or, with none, from a copy of the database.

use super::args::ReadArgs;
use super::places::{self, Asked};
use super::run::state_failure;
use super::{Exit, Failure, table};
use crate::control::protocol::{Answer, Request, Row};
use crate::journal::recover::{OpenError, snapshot_copy};
use crate::model::text::{Untrusted, escape};
use crate::sys::locks::{self, Lock, LockError};

pub(super) fn run(args: &ReadArgs) -> Result<Exit, Failure> {
    let rows = loop {
        match places::ask(&args.state.state_dir, Request::Dump)? {
            Asked::Answered(Answer::Dump(rows)) => break rows,
            Asked::Answered(_) => {
                return Err(Failure::because(
                    Exit::Failed,
                    "the daemon answered something else",
                ));
            }
            Asked::NotRunning => {
                // A daemon may start in this moment; then it is asked.
                if let Some(rows) = from_copy(args)? {
                    break rows;
                }
            }
        }
    };
    let text = if args.json {
        json(&rows)?
    } else {
        as_table(&rows)
    };
    super::print(&text)?;
    Ok(Exit::Done)
}

/// Reads a copy under the state directory's lock; `None` if a daemon has taken it meanwhile.
fn from_copy(args: &ReadArgs) -> Result<Option<Vec<Row>>, Failure> {
    if !args.state.state_dir.is_dir() {
        return Err(state_failure(&OpenError::Missing(
            args.state.state_dir.clone(),
        )));
    }
    let _lock = match Lock::for_reading(&locks::state_path(&args.state.state_dir)) {
        Ok(lock) => lock,
        Err(LockError::Held { .. }) => return Ok(None),
        Err(e) => return Err(Failure::new(Exit::Failed, &e)),
    };
    let snapshot = snapshot_copy(&args.state.state_dir, &std::env::temp_dir())
        .map_err(|e| state_failure(&e))?;
    Ok(Some(snapshot.records.iter().flat_map(Row::of).collect()))
}

fn json(rows: &[Row]) -> Result<String, Failure> {
    let mut text = String::new();
    for row in rows {
        text.push_str(&super::json_line(row)?);
    }
    Ok(text)
}

fn as_table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "the journal is empty\n".to_owned();
    }
    let heading = [
        "ID",
        "STATE",
        "KIND",
        "DEV",
        "FROM",
        "TO",
        "CONTAINER",
        "NETWORK",
        "INSERTED",
    ];
    let mut table = table::with_heading(&heading);
    let (closed, mut rows): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|r| r.kind == "skipped");
    rows.sort_by_key(|r| {
        (
            r.kind == "dnat",
            &r.kind,
            &r.dev,
            &r.proto,
            r.host_port,
            &r.id,
        )
    });
    for row in rows {
        table.add_row(cells(row));
    }
    let mut text = table::print(&table);
    text.push('\n');
    for row in closed {
        let reason = row.reason.as_deref().unwrap_or("no reason given");
        text.push_str(&format!(
            "closed: container {}: {}\n",
            container(row),
            escape(reason.chars())
        ));
    }
    text
}

fn container(row: &Row) -> String {
    match (&row.container_name, &row.container_id) {
        (Some(name), Some(id)) => {
            let short: String = id.chars().take(12).collect();
            format!(
                "{} ({})",
                Untrusted::new(name.as_str()),
                Untrusted::new(short)
            )
        }
        _ => "-".to_owned(),
    }
}

fn cells(row: &Row) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let port = match (&row.proto, row.host_port, row.host_addr) {
        (Some(proto), Some(port), Some(addr)) => Some(format!("[{addr}]:{port}/{proto}")),
        (Some(proto), Some(port), None) => Some(format!("{port}/{proto}")),
        _ => None,
    };
    let from: Vec<String> = [port, row.source.clone(), row.prefix.clone()]
        .into_iter()
        .flatten()
        .collect();
    let from = if from.is_empty() {
        "-".to_owned()
    } else {
        from.join(" from ")
    };
    let to = match (row.container_addr, row.container_port) {
        (Some(addr), Some(port)) => format!("[{addr}]:{port}"),
        _ => "-".to_owned(),
    };
    let shown = |text: &Option<String>| {
        or_dash(
            text.as_ref()
                .map(|t| Untrusted::new(t.as_str()).to_string()),
        )
    };
    let inserted = chrono::DateTime::from_timestamp(i64::try_from(row.inserted_at).unwrap_or(0), 0)
        .map(|t| t.format("%Y-%m-%dT%H:%M:%SZ").to_string());
    vec![
        row.id.clone(),
        row.state.clone(),
        row.kind.clone(),
        or_dash(row.dev.clone()),
        from,
        to,
        container(row),
        shown(&row.network),
        or_dash(inserted),
    ]
}

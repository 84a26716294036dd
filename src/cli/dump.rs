//! `dump`: the journal, from the running daemon or, if none runs, from a copy of the database.

use std::path::Path;

use clap::Args;

use super::args::StateArgs;
use super::ask::{ask, wrong_answer};
use super::failure::{Exit, Failure};
use super::{output, table};
use crate::control::protocol::{Answer, Request};
use crate::control::row::Row;
use crate::journal::recover::{OpenError, snapshot_copy};
use crate::model::text::{Untrusted, escape};
use crate::sys::locks::{self, Lock, LockError};

/// Options of `dump`.
#[derive(Debug, Args)]
pub(super) struct DumpArgs {
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    state: StateArgs,
}

pub(super) fn run(args: &DumpArgs) -> Result<Exit, Failure> {
    let state_dir = &args.state.state_dir;
    let rows = loop {
        match ask(state_dir, Request::Dump)? {
            Some(Answer::Dump(rows)) => break rows,
            Some(_) => return Err(wrong_answer()),
            None => {
                // A daemon may start at this moment; then it is asked.
                if let Some(rows) = from_copy(state_dir)? {
                    break rows;
                }
            }
        }
    };
    let text = if args.json {
        rows.iter()
            .map(output::json_line)
            .collect::<Result<_, _>>()?
    } else {
        as_table(&rows)
    };
    output::print(&text)?;
    Ok(Exit::Done)
}

/// Reads a copy under the state directory's lock; `None` if a daemon has taken it meanwhile.
fn from_copy(state_dir: &Path) -> Result<Option<Vec<Row>>, Failure> {
    if !state_dir.is_dir() {
        return Err(OpenError::Missing(state_dir.to_owned()).into());
    }
    let _lock = match Lock::for_reading(&locks::state_path(state_dir)) {
        Ok(lock) => lock,
        Err(LockError::Held { .. }) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let snapshot = snapshot_copy(state_dir, &std::env::temp_dir())?;
    Ok(Some(snapshot.records.iter().flat_map(Row::of).collect()))
}

fn as_table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "the journal is empty\n".to_owned();
    }
    let mut table = table::with_heading("ID STATE KIND DEV FROM TO CONTAINER NETWORK INSERTED");
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
    let network = row.network.as_deref();
    let network = network.map(|name| Untrusted::new(name).to_string());
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
        or_dash(network),
        or_dash(inserted),
    ]
}

//! `dump --rules`: one line per record of the journal.

use super::forwards::{container, dash, safe};
use super::table::{Cell, Column, Cut, table};
use super::{Canvas, ODD};
use crate::control::moment::Moment;
use crate::control::row::Row;

const COLUMNS: [Column; 6] = [
    ("ID", Cut::Never, 0, 0),
    ("HOOK", Cut::End, 1, 9),
    ("PURPOSE", Cut::Middle, 1, 12),
    ("MATCHES", Cut::Middle, 2, 13),
    ("CONTAINER", Cut::Middle, 0, 12),
    ("SINCE", Cut::Never, 0, 0),
];

/// Where a rule leads to; only where there is room for it.
const TO: Column = ("TO", Cut::Never, 0, 0);

/// The screen; empty without rows.
pub(in crate::cli) fn screen(rows: &[Row], canvas: &Canvas) -> String {
    let mut rows: Vec<&Row> = rows.iter().filter(|row| row.kind != "skipped").collect();
    if rows.is_empty() {
        return String::new();
    }
    rows.sort_by_key(|row| {
        let port = (row.host_port, &row.proto, row.host_addr);
        (port, &row.hook, &row.kind, &row.purpose, &row.dev, &row.id)
    });
    let has_room = canvas.width.is_none();
    let columns = COLUMNS.into_iter().chain(has_room.then_some(TO));
    let columns: Vec<Column> = columns.collect();
    let lines = rows.into_iter().map(|row| line(row, has_room, canvas));
    table(&columns, &lines.collect::<Vec<_>>(), canvas.width)
}

fn line(row: &Row, has_room: bool, canvas: &Canvas) -> Vec<Cell> {
    let owner = container(row.container_name.as_deref(), row.container_id.as_deref());
    let owner = match row.container_port {
        Some(port) => format!("{owner}:{port}"),
        None => owner,
    };
    let since = canvas.ago(Moment::from_secs(row.inserted_at));
    let since = match row.state.as_str() {
        "applied" => since.into(),
        other => Cell::styled(other, ODD),
    };
    let mut cells = vec![
        row.id.clone().into(),
        row.hook.as_deref().map_or_else(dash, chain).into(),
        purpose(row).into(),
        matches(row).into(),
        owner.into(),
        since,
    ];
    if has_room {
        let to = row.container_addr.zip(row.container_port);
        let to = to.map(|(addr, port)| format!("[{addr}]:{port}"));
        cells.push(to.unwrap_or_else(dash).into());
    }
    cells
}

/// What a rule is for.
pub(super) fn purpose(row: &Row) -> String {
    safe(&match &row.purpose {
        Some(purpose) => format!("{} {purpose}", row.kind),
        None => row.kind.clone(),
    })
}

/// A hook without its table: chains of one name in both tables hold rules of different purposes.
pub(super) fn chain(hook: &str) -> String {
    safe(hook.rsplit(' ').next().unwrap_or(hook))
}

/// What a packet must be like.
pub(super) fn matches(row: &Row) -> String {
    let port = row.host_port.map(|port| {
        let proto = row.proto.as_deref().unwrap_or("?");
        match row.host_addr {
            Some(addr) => format!("[{addr}]:{port}/{proto}"),
            None => format!("{port}/{proto}"),
        }
    });
    let from = row.source.as_ref().or(row.prefix.as_ref());
    let parts = [row.dev.clone(), port, from.cloned()];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    match parts.is_empty() {
        true => dash(),
        false => safe(&parts.join(" ")),
    }
}

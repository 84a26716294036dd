//! `status --watch`: new connections of each published port.

use std::collections::HashMap;

use super::forwards::safe;
use super::table::{Cell, Column, Cut, table};
use super::{Canvas, GOOD};
use crate::control::connections::PortConnections;

const COLUMNS: [Column; 4] = [
    ("PORT", Cut::Middle, 1, 12),
    ("CONTAINER", Cut::Middle, 0, 12),
    ("NEW/S", Cut::Never, 0, 0),
    ("TOTAL", Cut::Never, 0, 0),
];

/// How many ports are shown.
const SHOWN: usize = 20;

/// The table of the busiest ports: what they counted after `secs` seconds since `before`, which is
/// empty the first time.
pub(in crate::cli) fn screen(
    before: &[PortConnections],
    now: &[PortConnections],
    secs: f64,
    canvas: &Canvas,
) -> String {
    let earlier: HashMap<&str, u64> = before
        .iter()
        .map(|port| (port.port.as_str(), port.connections))
        .collect();
    let rate = |port: &PortConnections| {
        let earlier = earlier.get(port.port.as_str())?;
        // A rule that was put in anew counts from 0.
        let count = port.connections;
        let new = count.checked_sub(*earlier).unwrap_or(count);
        Some(new as f64 / secs)
    };
    let mut ports: Vec<(Option<f64>, &PortConnections)> =
        now.iter().map(|port| (rate(port), port)).collect();
    ports.sort_by(|(a, _), (b, _)| b.partial_cmp(a).unwrap_or(std::cmp::Ordering::Equal));
    let line = |(rate, port): &(Option<f64>, &PortConnections)| -> Vec<Cell> {
        let rate = match rate {
            Some(rate) if *rate > 0.0 => Cell::styled(format!("{rate:.1}"), GOOD),
            Some(_) => "0".into(),
            None => "-".into(),
        };
        vec![
            safe(&port.port).into(),
            safe(&port.container).into(),
            rate,
            port.connections.to_string().into(),
        ]
    };
    if ports.is_empty() {
        return String::new();
    }
    let lines: Vec<Vec<Cell>> = ports.iter().take(SHOWN).map(line).collect();
    let mut text = table(&COLUMNS, &lines, canvas.width);
    if let Some(more @ 1..) = ports.len().checked_sub(SHOWN) {
        text.push_str(&format!("and {more} more\n"));
    }
    text
}

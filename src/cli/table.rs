//! Tables for people.

use comfy_table::{Table, presets};

/// A borderless table; `heading` has one word per column.
pub(super) fn with_heading(heading: &str) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(heading.split(' '));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// The table without blanks at the ends of lines.
pub(super) fn print(table: &Table) -> String {
    table
        .to_string()
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}

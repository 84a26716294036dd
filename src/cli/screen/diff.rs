//! `dump --diff`: the rules that differ, and how many there are.

use super::forwards::{container, dash, safe};
use super::lines::broken;
use super::rules::{chain, matches, purpose};
use super::table::{Cell, Column, Cut, table};
use super::{BAD, Canvas, GOOD, paint};
use crate::control::comparison::{Comparison, Difference};

const COLUMNS: [Column; 8] = [
    ("ID", Cut::End, 3, 8),
    ("HOOK", Cut::End, 1, 8),
    ("PURPOSE", Cut::Middle, 2, 9),
    ("MATCHES", Cut::Middle, 1, 9),
    ("CONTAINER", Cut::Middle, 0, 9),
    ("JOURNAL", Cut::Never, 0, 0),
    ("KERNEL", Cut::Never, 0, 0),
    ("DOCKER", Cut::Never, 0, 0),
];

/// The screen.
pub(in crate::cli) fn screen(comparison: &Comparison, canvas: &Canvas) -> String {
    let lines = comparison.differences.iter().map(line);
    let lines: Vec<Vec<Cell>> = lines.collect();
    let mut text = match lines.is_empty() {
        true => String::new(),
        false => table(&COLUMNS, &lines, canvas.width),
    };
    let (style, verdict) = match comparison.differences.len() {
        0 => (GOOD, "equal".to_owned()),
        1 => (BAD, "1 rule differs".to_owned()),
        rules => (BAD, format!("{rules} rules differ")),
    };
    let Comparison {
        generation,
        journal,
        kernel,
        docker,
        ..
    } = comparison;
    let counts = format!(
        "{verdict}: journal {journal}, kernel {kernel}, Docker {docker}; generation {generation}"
    );
    let counts = broken("", &counts, "", canvas.width);
    text.push_str(&counts.replacen(&verdict, &paint(style, &verdict), 1));
    if !comparison.docker_known {
        let note = "Docker has not said everything yet: what it may still want is not counted";
        text.push_str(&broken("", note, "", canvas.width));
    }
    text
}

fn line(difference: &Difference) -> Vec<Cell> {
    let row = &difference.row;
    let cell = |text: String, is_right: bool| match is_right {
        true => Cell::from(text),
        false => Cell::styled(text, BAD),
    };
    let journal = difference.in_journal.clone();
    let is_applied = journal.as_deref() == Some("applied");
    let kernel = match (difference.in_kernel, difference.astray) {
        (0, 0) => dash(),
        (1, 0) => "there".to_owned(),
        (0, _) => "altered".to_owned(),
        (copies, astray) => format!("{} copies", copies + astray),
    };
    let is_there = (difference.in_kernel, difference.astray) == (1, 0);
    let docker = if difference.in_docker { "wanted" } else { "-" };
    vec![
        safe(&row.id).into(),
        row.hook.as_deref().map_or_else(dash, chain).into(),
        purpose(row).into(),
        matches(row).into(),
        container(row.container_name.as_deref(), row.container_id.as_deref()).into(),
        cell(journal.unwrap_or_else(dash), is_applied),
        cell(kernel, is_there),
        cell(docker.to_owned(), difference.in_docker),
    ]
}

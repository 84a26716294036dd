//! The README as its readers use it: its commands, and what it prints.

use std::fs;
use std::path::Path;

/// Its text.
pub(crate) fn text() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    fs::read_to_string(path).expect("the README")
}

/// What it says under a heading, up to the next one of the same level or above.
///
/// # Panics
/// There is no such heading.
pub(crate) fn section<'t>(text: &'t str, heading: &str) -> &'t str {
    let start = text
        .find(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("the README has no {heading:?}"));
    let rest = &text[start + 1 + heading.len()..];
    let level = heading.chars().take_while(|c| *c == '#').count();
    let end = (1..=level).filter_map(|level| rest.find(&format!("\n{} ", "#".repeat(level))));
    &rest[..end.min().unwrap_or(rest.len())]
}

/// The blocks of code: lines that are indented by four, behind an empty line.
pub(crate) fn blocks(text: &str) -> Vec<Vec<&str>> {
    let mut found: Vec<Vec<&str>> = Vec::new();
    let (mut after_blank, mut inside) = (false, false);
    for line in text.lines() {
        match line.strip_prefix("    ") {
            Some(code) if inside => found.last_mut().expect("a block").push(code),
            Some(code) if after_blank => {
                inside = true;
                found.push(vec![code]);
            }
            _ => inside = false,
        }
        after_blank = line.is_empty();
    }
    found
}

/// The commands in the blocks of code, each in one line: what follows `$ `, perhaps behind `host` or
/// `client`.
pub(crate) fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for block in blocks(text) {
        let mut lines = block.into_iter();
        while let Some(line) = lines.next() {
            let Some(mut command) = command_of(line).map(str::to_owned) else {
                continue;
            };
            while let Some(begin) = command.strip_suffix('\\') {
                let more = lines.next().expect("a line behind the backslash");
                command = format!("{}{}", begin, more.trim_start());
            }
            found.push(command);
        }
    }
    found
}

/// The command in a line of code.
pub(crate) fn command_of(line: &str) -> Option<&str> {
    ["$ ", "host$ ", "client$ "]
        .iter()
        .find_map(|prompt| line.strip_prefix(prompt))
}

/// What stands between backticks outside of blocks of code.
pub(crate) fn quoted(text: &str) -> Vec<String> {
    let prose: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("    "))
        .collect();
    // A quotation may go over the end of a line.
    let joined = prose.join("\n").replace("\n\n", "\u{0}").replace('\n', " ");
    let paragraphs = joined.split('\u{0}').flat_map(|paragraph| {
        let parts = paragraph.split('`').enumerate();
        parts
            .filter(|(number, _)| number % 2 == 1)
            .map(|(_, part)| part)
    });
    paragraphs.map(|part| part.trim().to_owned()).collect()
}

//! What a command writes to standard output.

use std::io::{self, IsTerminal, Write};

use anstream::AutoStream;
use anstream::adapter::strip_str;
use serde::Serialize;

use super::failure::{Exit, Failure};
use crate::model::text::must_be_escaped;

/// Writes `text` to standard output. A reader that has read enough (`| head`) is no failure.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
            Exit::Failed,
            format!("cannot write to standard output: {e}"),
        )),
        _ => Ok(()),
    }
}

/// Writes a screen for people: in colour on a terminal, unless the environment has `NO_COLOR`
/// (no-color.org) or a terminal that knows none.
pub(super) fn print_screen(text: &str) -> Result<(), Failure> {
    let out = io::stdout();
    let is_coloured = out.is_terminal() && AutoStream::choice(&out) != anstream::ColorChoice::Never;
    match is_coloured {
        true => print(text),
        false => print(&strip_str(text).to_string()),
    }
}

/// A value as one line of JSON, safe to show: JSON itself lets through the C1 controls and the
/// bidirectional overrides, which can change what a terminal shows as much as an escape does.
pub(super) fn json_line(value: &impl Serialize) -> Result<String, Failure> {
    let json = serde_json::to_string(value).map_err(io::Error::from)?;
    let mut line = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        // These occur only inside strings, and none lies beyond 16 bits, so JSON's escapes fit. A
        // backslash is JSON's own by now.
        if c != '\\' && must_be_escaped(c) {
            line.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::json_line;

    #[test]
    fn json_steers_no_terminal_and_says_the_same() {
        let name = "web\\ \"x\"\n\u{9b}31m\u{202e}\u{2028}\u{feff} größe データ 🦀";
        let line = json_line(&name).unwrap();
        let shown = line.strip_suffix('\n').unwrap();
        let steers = |c: char| c.is_control() || "\u{202e}\u{2028}\u{feff}".contains(c);
        assert!(!shown.contains(steers), "{shown}");
        assert!(shown.contains("größe データ 🦀"), "{shown}");
        assert_eq!(serde_json::from_str::<String>(shown).unwrap(), name);
    }
}

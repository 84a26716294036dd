//! What a command writes to standard output.

use std::io::{self, IsTerminal, Write};

use anstream::AutoStream;
use anstream::adapter::strip_str;
use serde::Serialize;

use super::failure::{Exit, Failure};
use crate::model::text::must_be_escaped;

/// Writes `text` to standard output. A reader that has read enough (`| head`) is no failure.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    is_read(text).map(|_| ())
}

/// The same; `false` if the reader has gone.
fn is_read(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Failure::new(
            Exit::Failed,
            format!("cannot write to standard output: {e}"),
        )),
    }
}

/// Writes values to standard output, each as one [`json_line`]. They are never in memory as one text.
pub(super) fn print_lines<'v, T: Serialize + 'v>(
    values: impl Iterator<Item = &'v T>,
) -> Result<(), Failure> {
    /// Bytes that are written at once.
    const AT_ONCE: usize = 64 * 1024;
    let mut lines = String::new();
    for value in values {
        lines.push_str(&json_line(value)?);
        if lines.len() >= AT_ONCE {
            if !is_read(&lines)? {
                return Ok(());
            }
            lines.clear();
        }
    }
    print(&lines)
}

/// Writes a screen in the place of the last one, or to a file or a pipe after it. `false` if the reader
/// has gone.
pub(super) fn print_over(screen: &str) -> Result<bool, Failure> {
    /// Home, and clear from there to the end (ECMA-48: CUP, ED).
    const ANEW: &str = "\u{1b}[H\u{1b}[J";
    let is_terminal = io::stdout().is_terminal();
    let screen = coloured(screen);
    match is_terminal {
        true => is_read(&format!("{ANEW}{screen}")),
        false => is_read(&format!("{screen}\n")),
    }
}

/// Writes a screen for people: in colour on a terminal, unless the environment has `NO_COLOR`
/// (no-color.org) or a terminal that knows none.
pub(super) fn print_screen(text: &str) -> Result<(), Failure> {
    print(&coloured(text))
}

/// The text with its colours, or without them where they are not wanted.
fn coloured(text: &str) -> String {
    let out = io::stdout();
    let is_coloured = out.is_terminal() && AutoStream::choice(&out) != anstream::ColorChoice::Never;
    match is_coloured {
        true => text.to_owned(),
        false => strip_str(text).to_string(),
    }
}

/// The failure of a command that was asked for JSON.
#[derive(Debug, Serialize)]
struct FailedObject<'f> {
    v: u32,
    error: &'f str,
    exit: u8,
}

/// Writes a failure as an object to standard output, beside the message for people. If standard output
/// is what fails, the exit code still says so.
pub(super) fn print_failure(failure: &Failure) {
    let object = FailedObject {
        v: 1,
        error: &failure.message,
        exit: failure.exit as u8,
    };
    let line = json_line(&object);
    let _ = line.and_then(|line| print(&line));
}

/// A value as one line of JSON, safe to show: JSON itself lets through the C1 controls and the
/// bidirectional overrides, which can change what a terminal shows as much as an escape does.
pub(super) fn json_line(value: &impl Serialize) -> Result<String, Failure> {
    let mut json = serde_json::to_string(value).map_err(io::Error::from)?;
    // There may be very many lines, and hardly any has more than ASCII.
    if json.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        json.push('\n');
        return Ok(json);
    }
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

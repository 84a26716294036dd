//! One line of the log.

use std::io::{self, Write};
use std::sync::Mutex;

use slog::Level;

/// A text without control characters: they are escaped.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.trim().chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// Writes a text as one line without control characters, in one call.
pub(super) fn write_line<W: Write>(out: &Mutex<W>, prefix: &str, text: &str) -> io::Result<()> {
    let line = format!("{prefix}{}\n", one_line(text));
    match out.lock() {
        Ok(mut out) => out.write_all(line.as_bytes()),
        Err(_) => Err(io::Error::other("a writer of the log panicked")),
    }
}

/// syslog(3)'s priorities.
pub(super) fn priority(level: Level) -> u8 {
    match level {
        Level::Critical => 2,
        Level::Error => 3,
        Level::Warning => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

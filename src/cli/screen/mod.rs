//! What people see: tables and lines of a given width, in colour.
//!
//! Everything here is pure, apart from [`Canvas::of_stdout`]. Texts have their colours in them, and
//! [`super::output::print_screen`] takes them out where they are not wanted.

pub(super) mod check;
pub(super) mod diff;
pub(super) mod explain;
pub(super) mod forwards;
pub(super) mod history;
pub(super) mod lines;
mod ports;
pub(super) mod rates;
pub(super) mod rules;
pub(super) mod span;
pub(super) mod status;
pub(super) mod table;
#[cfg(test)]
mod tests;

use anstyle::{AnsiColor, Style};
use rustix::termios::{isatty, tcgetwinsize};

use crate::control::moment::Moment;
use crate::model::text::Untrusted;

/// Least width that a screen is made for. A narrower terminal wraps.
const NARROWEST: usize = 40;

/// Width of a terminal that does not know its own, such as a serial line.
const USUAL: usize = 80;

/// Columns that a name takes in a sentence.
const LONGEST_NAME: usize = 32;

/// As it should be.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();

/// Something is wrong.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();

/// Something is not as one may expect.
pub(super) const ODD: Style = AnsiColor::Yellow.on_default();

/// Headings.
pub(super) const HEADING: Style = Style::new().bold();

/// What a screen is made for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Canvas {
    /// How many columns a line may have; `None`: nothing is shortened.
    pub(super) width: Option<usize>,
    /// To which moment relative times refer.
    pub(super) now: Moment,
}

impl Canvas {
    /// One for standard output: as wide as its terminal. Nothing is shortened for a file or a pipe.
    pub(super) fn of_stdout(is_wide: bool) -> Self {
        let out = std::io::stdout();
        let width = (!is_wide && isatty(&out)).then(|| {
            let size = tcgetwinsize(&out);
            match size.map_or(0, |size| usize::from(size.ws_col)) {
                0 => USUAL,
                columns => columns.max(NARROWEST),
            }
        });
        Self {
            width,
            now: Moment::now(),
        }
    }

    /// A name that is safe to show, and short unless nothing is to be shortened.
    pub(super) fn name(&self, name: &str) -> String {
        let name = Untrusted::new(name).to_string();
        match self.width {
            Some(_) => lines::cut(&name, LONGEST_NAME),
            None => name,
        }
    }

    /// How long ago a moment was, in one unit.
    pub(super) fn ago(&self, then: Moment) -> String {
        span::short(then.secs_until(self.now))
    }
}

/// A text in a style.
pub(super) fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

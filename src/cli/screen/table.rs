//! Tables whose columns give way until a row fits into a line.

use std::cmp::Reverse;

use anstyle::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{HEADING, paint};

/// Blanks between two columns.
const GAP: usize = 2;

/// What stands for what was cut.
const CUT: char = '…';

/// How a column gives way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Cut {
    /// It does not.
    Never,
    /// What comes last is cut.
    End,
    /// Something is cut out: the end says as much as the beginning.
    Middle,
}

/// A column: its heading, how it gives way, its turn to do so (0 first), and the least width to which
/// it does.
pub(in crate::cli) type Column = (&'static str, Cut, u8, usize);

/// A cell.
#[derive(Debug, Clone, Default)]
pub(in crate::cli) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A cell in a style.
    pub(in crate::cli) fn styled(text: impl Into<String>, style: Style) -> Self {
        let text = text.into();
        Self { text, style }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, Style::new())
    }
}

/// The table as lines of at most `width` columns. Texts of cells are safe to show.
pub(in crate::cli) fn table(
    columns: &[Column],
    rows: &[Vec<Cell>],
    width: Option<usize>,
) -> String {
    let widths = widths(columns, rows, width);
    let heads = columns.iter();
    let heads: Vec<Cell> = heads
        .map(|(head, ..)| Cell::styled(*head, HEADING))
        .collect();
    let mut text = String::new();
    for row in std::iter::once(&heads).chain(rows) {
        let mut blanks = 0;
        for ((cell, (_, how, ..)), width) in row.iter().zip(columns).zip(&widths) {
            let shown = shortened(&cell.text, *width, *how);
            let taken = shown.width();
            if taken > 0 {
                text.extend(std::iter::repeat_n(' ', blanks));
                text.push_str(&paint(cell.style, &shown));
                blanks = 0;
            }
            blanks += width.saturating_sub(taken) + GAP;
        }
        text.push('\n');
    }
    text
}

/// How wide each column becomes: of those whose turn it is, the widest one gives way first.
fn widths(columns: &[Column], rows: &[Vec<Cell>], most: Option<usize>) -> Vec<usize> {
    let mut widths: Vec<usize> = columns.iter().map(|(head, ..)| head.width()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.width());
        }
    }
    let gaps = GAP * columns.len().saturating_sub(1);
    let Some(most) = most else {
        return widths;
    };
    while widths.iter().sum::<usize>() + gaps > most {
        let may = |at: &usize| {
            let (head, how, _, least) = columns[*at];
            how != Cut::Never && widths[*at] > least.max(head.width())
        };
        let order = |at: &usize| (Reverse(columns[*at].2), widths[*at]);
        let Some(widest) = (0..columns.len()).filter(may).max_by_key(order) else {
            break;
        };
        widths[widest] -= 1;
    }
    widths
}

/// The text, cut to at most `width` columns.
fn shortened(text: &str, width: usize, how: Cut) -> String {
    if how == Cut::Never || text.width() <= width {
        return text.to_owned();
    }
    let left = width.saturating_sub(1);
    let tail = match how {
        Cut::Middle => left / 3,
        Cut::Never | Cut::End => 0,
    };
    let end: Vec<char> = fitting(text.chars().rev(), tail).collect();
    let mut shown: String = fitting(text.chars(), left - tail).collect();
    shown.push(CUT);
    shown.extend(end.iter().rev());
    shown
}

/// As many characters as fit into so many columns.
fn fitting(chars: impl Iterator<Item = char>, most: usize) -> impl Iterator<Item = char> {
    let mut taken = 0;
    chars.take_while(move |c| {
        taken += c.width().unwrap_or(0);
        taken <= most
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_cut_says_so_and_fits() {
        let name = "my-compose-project-web_1:5432";
        assert_eq!(shortened(name, 23, Cut::Middle), "my-compose-proj…_1:5432");
        assert_eq!(shortened(name, 11, Cut::End), "my-compose…");
        assert_eq!(shortened(name, 29, Cut::End), name);
        assert_eq!(shortened(name, 3, Cut::Never), name);
        // Wide characters take two columns each.
        for width in 1..12 {
            for how in [Cut::End, Cut::Middle] {
                assert!(
                    shortened("データベース", width, how).width() <= width,
                    "{width}"
                );
            }
        }
    }

    #[test]
    fn the_widest_column_gives_way_until_the_row_fits() {
        let columns = [
            ("A", Cut::End, 0, 4),
            ("B", Cut::Never, 0, 0),
            ("C", Cut::Middle, 1, 4),
        ];
        let rows = vec![vec![
            "x".repeat(9).into(),
            "y".repeat(9).into(),
            "z".repeat(30).into(),
        ]];
        for width in 30..60 {
            let text = table(&columns, &rows, Some(width));
            let text = anstream::adapter::strip_str(&text).to_string();
            assert!(
                text.lines().all(|line| line.width() <= width),
                "{width}: {text}"
            );
            assert!(text.contains("yyyyyyyyy"), "{text}");
        }
    }
}

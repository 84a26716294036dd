//! `explain`.

use unicode_width::UnicodeWidthStr;

use super::{canvas, is_golden};
use crate::cli::screen::explain;
use crate::explain::report::samples;
use crate::model::text::must_be_escaped;

#[test]
fn explain_shows_the_way_of_a_packet() {
    for (name, report) in [
        ("explain-reachable", samples::reachable()),
        ("explain-stopped", samples::stopped()),
        ("explain-stopped-back", samples::stopped_on_its_way_back()),
    ] {
        is_golden(name, |c| explain::screen(&report, c));
    }
}

#[test]
fn what_others_have_named_steers_no_terminal_and_forges_no_line() {
    let report = samples::hostile();
    let text = explain::screen(&report, &canvas(None));
    // One line each: published, packet, two of the way, two of the way back, and the sentence.
    assert_eq!(text.lines().count(), 7, "{text}");
    let shown = "a\\u{1b}[2J\\nreachable\\u{202e}";
    assert!(text.lines().all(|line| line.contains(shown)), "{text}");
    for width in [None, Some(80), Some(40)] {
        let text = explain::screen(&report, &canvas(width));
        let bad = |c: char| c != '\n' && c != '\\' && must_be_escaped(c);
        assert!(!text.contains(bad), "{text:?}");
        let fits = |line: &str| width.is_none_or(|most| line.width() <= most);
        assert!(text.lines().all(fits), "{text}");
    }
}

//! Every screen in every state, as `tests/offline/screens` has it. This writes them anew:
//!
//! ```text
//! DOCKER_NAT66_WRITE_GOLDENS=1 cargo test --lib screen
//! ```

mod checked;
mod compared;
mod explained;
mod past;
mod samples;

use std::fs;
use std::path::PathBuf;

use anstream::adapter::strip_str;
use unicode_width::UnicodeWidthStr;

use super::forwards::Source;
use super::{Canvas, diff, forwards, history, rates, rules, status};

const WRITE: &str = "DOCKER_NAT66_WRITE_GOLDENS";

fn canvas(width: Option<usize>) -> Canvas {
    let now = samples::now();
    Canvas { width, now }
}

/// Compares the screen at both widths and without one with the file of this name.
#[track_caller]
fn is_golden(name: &str, screen: impl Fn(&Canvas) -> String) {
    is_golden_but_for(name, "", screen);
}

/// The same, where this part of a command is wider than the terminal: it cannot be broken.
#[track_caller]
fn is_golden_but_for(name: &str, unbroken: &str, screen: impl Fn(&Canvas) -> String) {
    let mut shown = String::new();
    for width in [Some(80), Some(100), None] {
        let text = strip_str(&screen(&canvas(width))).to_string();
        for line in text.lines() {
            let fits = width.is_none_or(|most| line.width() <= most)
                || !unbroken.is_empty() && line.trim_start() == unbroken;
            assert!(fits, "{name}: wider than {width:?}: {line}");
            assert_eq!(line, line.trim_end(), "{name}");
        }
        let columns = width.map_or_else(|| "any width".to_owned(), |w| format!("{w} columns"));
        shown.push_str(&format!("# {columns}\n{text}"));
    }
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let file = root.join("tests/offline/screens").join(name);
    if std::env::var_os(WRITE).is_some() {
        fs::write(&file, &shown).expect("written");
        return;
    }
    let golden = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(shown, golden, "{}: see {WRITE}", file.display());
}

#[test]
fn dump_shows_what_is_open_and_what_is_closed() {
    let (rows, closed) = (samples::rows(), samples::closed());
    let daemon = Source::Daemon;
    is_golden("dump", |c| forwards::screen(&rows, &closed, daemon, c));
    is_golden("dump-without-daemon", |c| {
        forwards::screen(&rows, &[], Source::Journal, c)
    });
    let hostile = samples::hostile_rows();
    is_golden("dump-hostile", |c| {
        forwards::screen(&hostile, &[], daemon, c)
    });
    let empty = forwards::screen(&[], &[], daemon, &canvas(Some(80)));
    assert_eq!(empty, "");
}

#[test]
fn dump_is_in_the_order_of_port_protocol_and_address() {
    let (mut rows, mut closed) = (samples::rows(), samples::closed());
    let mut tls = samples::rows().remove(0);
    tls.host_port = Some(9001);
    for (proto, addr) in [
        ("udp", None),
        ("tcp", Some("2001:db8::2")),
        ("tcp", Some("2001:db8::1")),
        ("tcp", None),
    ] {
        tls.proto = Some(proto.to_owned());
        tls.host_addr = addr.and_then(samples::addr);
        rows.push(tls.clone());
    }
    closed.retain(|port| (port.port, port.proto.as_deref()) == (Some(9001), Some("tcp")));
    let text = forwards::screen(&rows, &closed, Source::Daemon, &canvas(None));
    let text = strip_str(&text).to_string();
    let lines = text.lines().filter(|line| line.contains("9001/"));
    let ports: Vec<&str> = lines.filter_map(|line| line.split(' ').next()).collect();
    let expected = [
        "9001/tcp",
        "9001/tcp",
        "[2001:db8::1]:9001/tcp",
        "[2001:db8::2]:9001/tcp",
        "9001/udp",
    ];
    assert_eq!(ports, expected, "{text}");
}

#[test]
fn notes_and_last_lines_fit_the_width() {
    let rows = samples::rows();
    is_golden("dump-note", |c| {
        let mut text = forwards::screen(&rows, &[], Source::Journal, c);
        text.push_str(&forwards::note(Source::Journal, None, c));
        text.push_str(&forwards::note(Source::Daemon, Some(3), c));
        text
    });
    let narrow = canvas(Some(40));
    for text in [
        forwards::note(Source::Journal, None, &narrow),
        diff::screen(&compared::equal(), &narrow),
    ] {
        let text = strip_str(&text).to_string();
        assert!(text.lines().all(|line| line.width() <= 40), "{text}");
    }
}

#[test]
fn a_comparison_ends_with_its_counts() {
    for (name, sample) in compared::all() {
        is_golden(name, |c| diff::screen(&sample, c));
    }
}

#[test]
fn watch_shows_the_new_connections_below_the_status() {
    let mut statuses = samples::statuses().into_iter();
    let (_, status) = statuses.find(|(name, _)| *name == "healthy").expect("one");
    let (before, now) = compared::connections();
    is_golden("watch", |c| {
        let mut text = status::screen(&status, c);
        text.push_str(&rates::screen(&before, &now, 2.0, c));
        text
    });
    let first = rates::screen(&[], &now, 2.0, &canvas(None));
    assert!(
        first.contains("8080/tcp") && !first.contains("0.5"),
        "{first}"
    );
}

#[test]
fn the_history_shows_what_was_open_and_what_is() {
    let intervals = past::intervals();
    for (name, shown, chain) in past::chains() {
        is_golden(name, |c| history::screen(&intervals[..shown], &chain, c));
    }
    is_golden("history-empty", |c| {
        history::screen(&[], &past::no_chain(), c)
    });
}

#[test]
fn no_two_rules_look_alike() {
    let rows = samples::rules();
    for width in [Some(80), Some(100), None] {
        let text = rules::screen(&rows, &canvas(width));
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        let all = lines.len();
        lines.dedup();
        assert_eq!((all, lines.len()), (rows.len() + 1, all), "{text}");
    }
    is_golden("rules", |c| rules::screen(&rows, c));
}

#[test]
fn status_shows_each_state() {
    for (name, sample) in samples::statuses() {
        is_golden(&format!("status-{name}"), |c| status::screen(&sample, c));
    }
}

#[test]
fn colours_end_where_they_begin() {
    let screen = status::screen(&samples::degraded(), &canvas(Some(80)));
    assert!(
        screen.contains("\u{1b}[1m\u{1b}[31mDEGRADED for 40 s\u{1b}[0m"),
        "{screen:?}"
    );
    for line in screen.lines() {
        let open = line.matches("\u{1b}[").count() - line.matches("\u{1b}[0m").count();
        assert!(
            open == 0 || line.ends_with("\u{1b}[0m") || line.contains("\u{1b}[0m "),
            "{line:?}"
        );
    }
}

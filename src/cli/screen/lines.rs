//! Lines that are broken between words.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The text after `head`, broken between words into lines of at most `width` columns. All lines but the
/// first begin with as many blanks as `head` takes; `joint` ends all lines but the last. A word that is
/// longer than a line is broken, too. With [`SHELL`] as the joint the text is a command, and what is
/// printed does the same when it is copied: it is broken only where a shell divides its words, and a word
/// that is longer than a line stays whole.
pub(in crate::cli) fn broken(head: &str, text: &str, joint: &str, width: Option<usize>) -> String {
    let taken = head.width();
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(taken));
    if text.width() <= room {
        return format!("{head}{text}\n");
    }
    let room = room.saturating_sub(joint.width());
    let words: Vec<String> = match joint {
        "" => text
            .split(' ')
            .flat_map(|word| pieces(word, room))
            .collect(),
        _ => shell_words(text),
    };
    let mut lines = vec![String::new()];
    for word in words {
        let at = lines.len() - 1;
        let used = lines[at].width();
        if used == 0 {
            lines[at] = word;
        } else if used + 1 + word.width() > room {
            // No line ends with the blanks before its break.
            let end = lines[at].trim_end_matches(' ').len();
            lines[at].truncate(end);
            lines.push(word);
        } else {
            lines[at].push(' ');
            lines[at].push_str(&word);
        }
    }
    let blanks = " ".repeat(taken);
    let joined = lines.join(&format!("{joint}\n{blanks}"));
    format!("{head}{joined}\n")
}

/// A command in parts between which a shell reads nothing but a blank: none of them lies in quotes or
/// behind a backslash. Quotes that do not end are none.
fn shell_words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            ' ' => {
                words.push(String::new());
                rest = &rest[1..];
                continue;
            }
            '\\' => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            '\'' | '"' => end_of_quotes(rest, c).unwrap_or(1),
            c => c.len_utf8(),
        };
        let at = words.len() - 1;
        words[at].push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    words
}

/// How many bytes the quotes take with which a text begins.
fn end_of_quotes(text: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !is_escaped {
            return Some(at + 1);
        }
        is_escaped = quote == '"' && c == '\\' && !is_escaped;
    }
    None
}

/// The text, cut at its end to at most `width` columns.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let first = pieces(text, width.saturating_sub(1)).swap_remove(0);
    format!("{first}…")
}

/// A word in pieces of at most `room` columns.
fn pieces(word: &str, room: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut used = 0;
    for c in word.chars() {
        let width = c.width().unwrap_or(0);
        if used > 0 && used + width > room {
            pieces.push(String::new());
            used = 0;
        }
        used += width;
        let at = pieces.len() - 1;
        pieces[at].push(c);
    }
    pieces
}

/// How what is longer than one line goes on in the next, for a shell.
pub(in crate::cli) const SHELL: &str = " \\";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_broken_between_words_and_a_command_stays_one() {
        let text = "sysctl -w net.ipv6.conf.all.forwarding=1";
        assert_eq!(broken("do  ", text, SHELL, None), format!("do  {text}\n"));
        assert_eq!(
            broken("do  ", text, SHELL, Some(44)),
            format!("do  {text}\n")
        );
        assert_eq!(
            broken("do  ", text, SHELL, Some(43)),
            "do  sysctl -w \\\n    net.ipv6.conf.all.forwarding=1\n"
        );
        assert_eq!(broken("x ", "a b c", "", Some(5)), "x a b\n  c\n");
        assert_eq!(broken("x ", "abcdefg", "", Some(5)), "x abc\n  def\n  g\n");
    }

    #[test]
    fn a_command_is_broken_where_its_words_end_and_never_in_quotes() {
        let parts = |text: &str| shell_words(text).join("|");
        let cases = [
            ("a -b c", "a|-b|c"),
            ("a 'b c' d", "a|'b c'|d"),
            (r#"a "b c" d"#, r#"a|"b c"|d"#),
            (r#"a x="b \" c" d"#, r#"a|x="b \" c"|d"#),
            (r"a 'b\' c", r"a|'b\'|c"),
            (r"a b\ c d", r"a|b\ c|d"),
            ("a network's b", "a|network's|b"),
            (r"a b\", r"a|b\"),
            ("a 'größe  x' “y” z", "a|'größe  x'|“y”|z"),
        ];
        for (text, expected) in cases {
            assert_eq!(parts(text), expected, "{text}");
        }
        let long = "nft 'chain ip6 filter FORWARD { policy accept; }'";
        for width in 10..60 {
            let shown = broken("do  ", long, SHELL, Some(width));
            let copied = shown.replace(" \\\n", " ");
            let words: Vec<&str> = copied.splitn(3, ' ').collect();
            let ends = copied
                .trim_end()
                .ends_with("'chain ip6 filter FORWARD { policy accept; }'");
            assert!(words[0] == "do" && ends, "{shown}");
        }
    }

    #[test]
    fn no_line_ends_or_goes_on_with_blanks_between_words() {
        let text = "accept   ← stopped here";
        for width in 8..30 {
            for line in broken("x ", text, "", Some(width)).lines() {
                assert_eq!(line, line.trim_end(), "{width}");
                assert!(!line.starts_with("   "), "{width}: {line:?}");
            }
        }
    }
}

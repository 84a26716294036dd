//! Lines that are broken between words.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The text after `head`, broken between words into lines of at most `width` columns. All lines but the
/// first begin with as many blanks as `head` takes; `joint` ends all lines but the last. A word that is
/// longer than a line stays whole: it may be a path or an address that is to be copied.
pub(in crate::cli) fn broken(head: &str, text: &str, joint: &str, width: Option<usize>) -> String {
    let taken = head.width();
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(taken));
    if text.width() <= room {
        return format!("{head}{text}\n");
    }
    let room = room.saturating_sub(joint.width());
    let mut lines = vec![String::new()];
    let words = text.split(' ').flat_map(|word| match joint {
        "" => pieces(word, room),
        _ => vec![word.to_owned()],
    });
    for word in words {
        let line = &lines[lines.len() - 1];
        let used = line.width();
        if used > 0 && used + 1 + word.width() > room {
            lines.push(word);
        } else {
            let at = lines.len() - 1;
            if used > 0 {
                lines[at].push(' ');
            }
            lines[at].push_str(&word);
        }
    }
    let blanks = " ".repeat(taken);
    let joined = lines.join(&format!("{joint}\n{blanks}"));
    format!("{head}{joined}\n")
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
}

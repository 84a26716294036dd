//! The words of a listed rule, read by the quoting rules of xtables (`xtables_save_string`).
//!
//! Pure. A string is printed bare if it holds only letters, digits, `_` and `-`, otherwise in
//! double quotes with `"`, `'` and `\` escaped by a backslash. Nothing else is escaped: a line
//! feed in a comment is printed as it is, so a rule's end is found by its quotes, not by lines.

use std::fmt;

/// One word of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// The word without quotes and escapes.
    pub(crate) text: String,
    /// Whether it stood in quotes: then it is a value, never an option.
    pub(crate) quoted: bool,
}

/// The quotes of a listing do not come out even: it is not what we take it for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadQuotes;

impl fmt::Display for BadQuotes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a quoted string is not closed as it should be")
    }
}

/// Splits the first rule off `text`. Gives its words and its length in bytes, line feed
/// excluded.
///
/// # Errors
/// [`BadQuotes`]: an unclosed string, or one followed by something other than a blank.
pub(crate) fn split(text: &str) -> Result<(Vec<Word>, usize), BadQuotes> {
    let mut words: Vec<Word> = Vec::new();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        match rest.chars().next() {
            None | Some('\n') => return Ok((words, at)),
            Some(' ') => at += 1,
            Some('"') if !names_a_device(words.last()) => {
                let (word, len) = quoted(rest)?;
                words.push(word);
                at += len;
            }
            Some(_) => {
                let len = rest.find([' ', '\n']).unwrap_or(rest.len());
                words.push(Word {
                    text: rest[..len].to_owned(),
                    quoted: false,
                });
                at += len;
            }
        }
    }
}

/// Interface names are printed as they are, quotes included: a kernel allows them.
fn names_a_device(option: Option<&Word>) -> bool {
    option.is_some_and(|w| !w.quoted && (w.text == "-i" || w.text == "-o"))
}

/// Reads a string that begins with a double quote; gives its length with both quotes.
fn quoted(text: &str) -> Result<(Word, usize), BadQuotes> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.push(chars.next().ok_or(BadQuotes)?.1),
            '"' => {
                let len = at + 1;
                if !matches!(text[len..].chars().next(), None | Some(' ' | '\n')) {
                    return Err(BadQuotes);
                }
                return Ok((
                    Word {
                        text: value,
                        quoted: true,
                    },
                    len,
                ));
            }
            _ => value.push(c),
        }
    }
    Err(BadQuotes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        let (words, _) = split(text).expect("even quotes");
        words.into_iter().map(|w| w.text).collect()
    }

    #[test]
    fn escapes_and_quotes_are_taken_off() {
        assert_eq!(
            texts(r#"-m comment --comment "a \"b\" \\ it\'s" -j X"#),
            ["-m", "comment", "--comment", r#"a "b" \ it's"#, "-j", "X"]
        );
        assert_eq!(texts(r#"--comment """#), ["--comment", ""]);
    }

    #[test]
    fn a_line_feed_inside_quotes_belongs_to_the_rule() {
        let (words, len) = split("--comment \"a\n-A b\" -j X\n-A next").expect("even");
        assert_eq!(words.len(), 4);
        assert_eq!(len, 23);
    }

    #[test]
    fn a_quote_in_an_interface_name_opens_nothing() {
        assert_eq!(
            texts("-i \"eth -o e\"th -j X"),
            ["-i", "\"eth", "-o", "e\"th", "-j", "X"]
        );
    }

    #[test]
    fn uneven_quotes_are_refused() {
        for text in ["\"", "\"a", "\"a\\", "\"a\"b", "x \"a\\\""] {
            assert_eq!(split(text), Err(BadQuotes), "{text:?}");
        }
    }
}

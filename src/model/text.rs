//! Untrusted text: container names, network names, labels.

use std::fmt;

/// How many characters of an untrusted text to show; only the length of the rest is shown.
/// Docker allows names of any length, and a log line or a table cell should stay readable.
const SHOWN_CHARS: usize = 128;

/// Text from Docker, kept as received and escaped when shown.
///
/// `Display` escapes control characters (C0, C1, DEL), bidirectional overrides and backslashes,
/// and cuts long texts, so that a container's name can neither forge a log line nor steer a
/// terminal. [`Untrusted::raw`] gives the original for comparison, and for formats that escape
/// it themselves (JSON).
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Untrusted(String);

impl Untrusted {
    /// Wraps a text as it came.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as received; never print it like this.
    pub fn raw(&self) -> &str {
        &self.0
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Untrusted {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        let mut shown = escape(chars.by_ref().take(SHOWN_CHARS));
        let cut = chars.count();
        if cut > 0 {
            shown.push_str(&format!("…(+{cut})"));
        }
        f.pad(&shown)
    }
}

/// Escapes text of any length, so that it is safe to show.
pub(crate) fn escape(chars: impl IntoIterator<Item = char>) -> String {
    let mut shown = String::new();
    for c in chars {
        if must_be_escaped(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Control characters, and the format characters that reorder or hide what is printed
/// (Unicode bidirectional controls, zero-width characters, line and paragraph separators, BOM).
pub(crate) fn must_be_escaped(c: char) -> bool {
    c.is_control()
        || c == '\\'
        || matches!(c,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::Untrusted;

    #[test]
    fn a_name_cannot_forge_a_line_or_steer_a_terminal() {
        let name = Untrusted::new("web\nNAT66 add\x1b[2J\u{202e}\u{9b}31m\\");
        let shown = name.to_string();
        assert_eq!(shown, "web\\nNAT66 add\\u{1b}[2J\\u{202e}\\u{9b}31m\\\\");
        assert_eq!(name.raw().lines().count(), 2);
    }

    #[test]
    fn a_long_name_is_cut_and_says_so() {
        let shown = Untrusted::new("x".repeat(64 * 1024)).to_string();
        assert!(shown.ends_with("…(+65408)"), "{shown}");
    }

    #[test]
    fn ordinary_names_in_any_script_are_shown_as_they_are() {
        for name in ["web_1", "größe", "データ", "a b"] {
            assert_eq!(Untrusted::new(name).to_string(), name);
        }
    }
}

//! A part of the history on its way to `dump --history`, which checks the seals itself, and the line of
//! the log to compare them with.

use serde::{Deserialize, Serialize};
use slog::{Logger, info};

use crate::journal::history::chain::Link;
use crate::journal::history::past::StoredHistory;

/// Version of the shape.
const VERSION: u32 = 1;

/// Some entries of the history, and where it begins and ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPage {
    /// Version of this shape.
    pub v: u32,
    /// Number and seal of the last entry that was cut off.
    pub anchor: (u64, String),
    /// Number and seal of the newest entry.
    pub head: (u64, String),
    /// The number and the value of each entry, as they are stored, in hexadecimal digits.
    pub entries: Vec<(u64, String)>,
}

impl From<StoredHistory> for HistoryPage {
    fn from(stored: StoredHistory) -> Self {
        let link = |link: Link| (link.number, link.hex());
        let entries = stored.entries.into_iter();
        Self {
            v: VERSION,
            anchor: link(stored.anchor),
            head: link(stored.head),
            entries: entries
                .map(|(number, value)| (number, hex(&value)))
                .collect(),
        }
    }
}

impl HistoryPage {
    /// What the page says; `None` if it is malformed.
    pub(crate) fn stored(self) -> Option<StoredHistory> {
        let link = |(number, seal): (u64, String)| {
            let seal = bytes(&seal)?.try_into().ok()?;
            Some(Link { number, seal })
        };
        let entries = self.entries.into_iter();
        let entries = entries.map(|(number, value)| Some((number, bytes(&value)?)));
        Some(StoredHistory {
            anchor: link(self.anchor)?,
            head: link(self.head)?,
            entries: entries.collect::<Option<_>>()?,
        })
    }
}

/// Logs the seal of the newest entry: who puts the whole journal back to an earlier state cannot put back
/// a log that is kept elsewhere.
pub(crate) fn log_newest(log: &Logger, newest: &Link) {
    info!(log, "history: the seal of its newest entry"; "entry" => newest.number,
        "sha256" => newest.hex());
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    let both = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    both.map(digit).collect()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16);
    let byte = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
        _ => None,
    };
    hex.as_bytes().chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_arrives_as_it_was() {
        let link = |number: u64| Link {
            number,
            seal: [number.to_be_bytes()[7]; 32],
        };
        let stored = StoredHistory {
            anchor: link(3),
            head: link(200),
            entries: vec![(4, (0..=255).collect()), (5, Vec::new())],
        };
        let page = HistoryPage::from(stored.clone());
        let json = serde_json::to_string(&page).expect("plain values");
        let page: HistoryPage = serde_json::from_str(&json).expect("as written");
        assert_eq!(page.stored(), Some(stored));
    }

    #[test]
    fn a_malformed_page_is_none() {
        let page = || HistoryPage::from(StoredHistory::default());
        assert!(page().stored().is_some());
        for odd in ["0", "0g", "é", "00"] {
            let mut page = page();
            page.head.1 = odd.to_owned();
            assert_eq!(page.stored(), None, "{odd}");
        }
        let mut page = page();
        page.entries.push((1, "0x".to_owned()));
        assert_eq!(page.stored(), None);
    }
}

//! What the conversions share: plain JSON, read without trust. Pure; nothing here can panic.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Deserializer, Map, Value};

use super::convert::Unreadable;
use crate::model::text::Untrusted;

/// Most faults described per container or network: it is enough to report that, not its every
/// port.
pub(super) const MAX_NOTES: usize = 16;

/// Longest row of a list, in bytes: as [`super::client`] bounds the inspect of one container. Read,
/// it takes some ten times as much.
const MAX_ROW: usize = 32 << 20;

/// Most rows of a list. What is kept of one takes some hundred bytes though its text may have ten; and
/// a bridge has 1,023 containers at most, a host some thousand.
const MAX_ROWS: usize = 32_768;

/// What could not be read.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) list: Vec<Untrusted>,
    /// Whether a whole part is not of the kind that it should be.
    pub(super) structure: bool,
}

impl Notes {
    pub(super) fn note(&mut self, what: &str, value: &Value) {
        if self.list.len() < MAX_NOTES {
            let text = format!("{what}: {}", brief(value));
            self.list.push(Untrusted::new(text));
        }
    }

    /// An object, or nothing where it is null or absent.
    pub(super) fn object<'v>(
        &mut self,
        what: &str,
        value: &'v Value,
    ) -> Option<&'v Map<String, Value>> {
        match value {
            Value::Object(map) => Some(map),
            Value::Null => None,
            _ => {
                self.structure = true;
                self.note(what, value);
                None
            }
        }
    }
}

/// Reads a whole answer.
///
/// # Errors
/// It is no JSON.
pub(super) fn parse(text: &str) -> Result<Value, Unreadable> {
    serde_json::from_str(text).map_err(|e| Unreadable::new(format!("{e}: {}", start(text))))
}

/// Reads a list, and hands out its rows one at a time: a whole one may be as large as an Engine
/// likes, and takes many times its length once it is read. Of a row that is too long only the
/// beginning comes, as a text.
///
/// # Errors
/// It is no JSON list, or one of too many rows; rows before the fault have been handed out.
pub(super) fn each_row(text: &str, take: impl FnMut(Value)) -> Result<(), Unreadable> {
    let mut json = Deserializer::from_str(text);
    let read = json.deserialize_seq(Rows(take)).and_then(|()| json.end());
    read.map_err(|e| Unreadable::new(format!("{e}: {}", start(text))))
}

struct Rows<F>(F);

impl<'de, F: FnMut(Value)> Visitor<'de> for Rows<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        let mut rows = 0;
        while let Some(row) = list.next_element::<&RawValue>()? {
            rows += 1;
            if rows > MAX_ROWS {
                let too_many = format!("more than {MAX_ROWS} rows");
                return Err(serde::de::Error::custom(too_many));
            }
            let row = row.get();
            (self.0)(match row.len() {
                0..=MAX_ROW => serde_json::from_str(row).map_err(serde::de::Error::custom)?,
                _ => Value::String(start(row)),
            });
        }
        Ok(())
    }
}

/// A value as text, short enough for a log line.
pub(super) fn brief(value: &Value) -> String {
    start(&value.to_string())
}

fn start(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A text, empty where it is none.
pub(super) fn text_of(value: &Value) -> Untrusted {
    Untrusted::new(value.as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_more_rows_than_any_host_has_is_none() {
        let list = |rows: usize| format!("[{}0]", "0,".repeat(rows - 1));
        let mut taken = 0;
        assert_eq!(each_row(&list(MAX_ROWS), |_| taken += 1), Ok(()));
        assert_eq!(taken, MAX_ROWS);
        let error = each_row(&list(MAX_ROWS + 1), |_| {}).expect_err("too many");
        assert!(
            error.0.raw().starts_with("more than 32768 rows"),
            "{error:?}"
        );
    }
}

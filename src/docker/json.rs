//! What the conversions share: plain JSON, read without trust. Pure; nothing here can panic.

use serde_json::{Map, Value};

use super::convert::Unreadable;
use crate::model::text::Untrusted;

/// Most faults described per container or network: it is enough to report that, not its every
/// port.
pub(super) const MAX_NOTES: usize = 16;

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

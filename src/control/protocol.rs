//! Requests and answers: one line of JSON each.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::row::Row;
use super::status::Status;

/// Longest request, in bytes. The known ones have fewer than 40.
pub(crate) const MAX_REQUEST: u64 = 1024;

/// Longest answer that a client reads, in bytes: some 500,000 rules at 1 KiB each.
pub(super) const MAX_ANSWER: u64 = 512 * 1024 * 1024;

/// What a client asks: `{"ask":"dump"}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "ask", rename_all = "lowercase")]
pub enum Request {
    /// The journal's records.
    Dump,
    /// What the daemon is doing.
    Status,
}

impl Request {
    /// Reads a line; `None` unless it is exactly one of the known requests. A derived
    /// `Deserialize` is too lenient here: it also takes lists, and ignores unknown fields.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let line: Value = serde_json::from_slice(line).ok()?;
        let mut known = [Self::Dump, Self::Status].into_iter();
        known.find(|request| json!(request) == line)
    }
}

/// What the daemon answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// To [`Request::Dump`].
    Dump(Vec<Row>),
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// Why the daemon cannot serve the request.
    Error(String),
}

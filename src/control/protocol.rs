//! Requests and answers: one line of JSON each.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::comparison::Comparison;
use super::connections::PortConnections;
use super::history::HistoryPage;
use super::row::Row;
use super::status::Status;
use crate::logging::Verbosity;

/// How long the daemon waits for the end of a reload before it answers. With very many ports and
/// ip6tables it takes seconds.
pub(crate) const RELOAD_PATIENCE: Duration = Duration::from_secs(25);

/// Longest request, in bytes. The known ones have fewer than 50.
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
    /// The journal, the kernel and Docker side by side.
    Diff,
    /// How many connections each published port has taken.
    Connections,
    /// What was open before.
    History {
        /// The number of the entry behind which the answer begins; 0 for the beginning.
        after: u64,
    },
    /// Its figures for monitoring.
    Metrics,
    /// Compare everything; answered once that is over.
    Reload,
    /// From now on log these messages.
    #[serde(rename = "log-level")]
    LogLevel {
        /// They and all that are graver.
        level: Verbosity,
    },
}

impl Request {
    /// How long the answer may take. A daemon answers in milliseconds unless it hangs, but comparing
    /// takes a listing of the kernel, for which the writer may have to wait.
    pub(crate) fn patience(self) -> Duration {
        match self {
            Self::Dump
            | Self::Status
            | Self::History { .. }
            | Self::Metrics
            | Self::LogLevel { .. } => Duration::from_secs(2),
            Self::Diff | Self::Connections | Self::Reload => Duration::from_secs(30),
        }
    }

    /// Reads a line; `None` unless it is exactly one of the known requests. A derived
    /// `Deserialize` is too lenient here: it also takes lists, and ignores unknown fields.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let line: Value = serde_json::from_slice(line).ok()?;
        let plain = [
            Self::Dump,
            Self::Status,
            Self::Diff,
            Self::Connections,
            Self::Metrics,
            Self::Reload,
        ];
        let levels = Verbosity::ALL.map(|level| Self::LogLevel { level });
        let after = line.get("after").and_then(Value::as_u64);
        let history = after.map(|after| Self::History { after });
        let mut known = plain.into_iter().chain(levels).chain(history);
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
    /// To [`Request::Diff`].
    Diff(Box<Comparison>),
    /// To [`Request::Connections`].
    Connections(Vec<PortConnections>),
    /// To [`Request::History`].
    History(HistoryPage),
    /// To [`Request::Metrics`]: Prometheus' text.
    Metrics(String),
    /// To the others: what came of it, in a sentence.
    Done(String),
    /// Why the daemon cannot serve the request.
    Error(String),
}

//! Why a request got no usable answer, in words for the person who has to do something about it.
//!
//! The text names the Engine's address and what to look at; the causes as the libraries below
//! describe them are kept beside it, for the debug level.

use std::time::Duration;

use super::api_version::{ApiVersion, NEWEST_API, OLDEST_API};
use super::bound::Bound;
use super::host::DockerHost;
use crate::model::text::Untrusted;

/// Why a request got no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The Engine could not be reached, or the connection broke.
    #[error("{host}: {what}")]
    Unreachable {
        /// What was connected to.
        host: DockerHost,
        /// What happened, and what may help.
        what: Untrusted,
        /// What was asked, and all that is known of the causes.
        cause: Untrusted,
    },
    /// No complete answer within the limit.
    #[error("{host}: no answer to {request} within {}", seconds(*after))]
    TimedOut {
        /// What was connected to.
        host: DockerHost,
        /// What was asked.
        request: String,
        /// The limit.
        after: Duration,
    },
    /// The Engine answered, and refused.
    #[error("{host}: {request} was refused with status {status}: {message}")]
    Refused {
        /// What was connected to.
        host: DockerHost,
        /// What was asked.
        request: String,
        /// The HTTP status.
        status: u16,
        /// The Engine's words.
        message: Untrusted,
    },
    /// What answers does not speak HTTP, or its version makes no sense.
    #[error("{host}: answers, but is not a Docker Engine: {what}")]
    NoEngine {
        /// What was connected to.
        host: DockerHost,
        /// What it said instead.
        what: Untrusted,
    },
    /// An answer that cannot be used.
    #[error("{request}: the answer cannot be read: {reason}")]
    Unreadable {
        /// What was asked.
        request: String,
        /// What is wrong with it.
        reason: Untrusted,
    },
    /// An answer that is longer than what is read of it.
    #[error("{request}: the answer cannot be read: {bound}")]
    TooLong {
        /// What was asked.
        request: String,
        /// What it exceeded.
        bound: Bound,
    },
    /// The Engine is too old.
    #[error(
        "{host}: the engine speaks api {engine} at most, and {OLDEST_API} is needed (docker 19.03)"
    )]
    TooOld {
        /// What was connected to.
        host: DockerHost,
        /// The newest version that the Engine speaks.
        engine: ApiVersion,
    },
    /// The Engine has given up every version that is spoken here.
    #[error(
        "{host}: the engine speaks api {engine} at least, and {NEWEST_API} is the newest that \
         this docker-nat66 knows: a newer one is needed"
    )]
    TooNew {
        /// What was connected to.
        host: DockerHost,
        /// The oldest version that the Engine speaks.
        engine: ApiVersion,
    },
}

impl EngineError {
    /// The causes as the libraries below describe them, where they say more than the error itself.
    pub fn cause(&self) -> String {
        match self {
            Self::Unreachable { cause, .. } => cause.to_string(),
            other => other.to_string(),
        }
    }

    /// What is wrong with an answer that has arrived and cannot be used; the same request would be
    /// answered in the same way again.
    pub(super) fn unusable_answer(&self) -> Option<Untrusted> {
        match self {
            Self::Unreadable { reason, .. } => Some(reason.clone()),
            Self::TooLong { bound, .. } => Some(Untrusted::new(bound.to_string())),
            _ => None,
        }
    }
}

/// A limit as people write it.
fn seconds(limit: Duration) -> String {
    if limit.subsec_millis() == 0 {
        format!("{} s", limit.as_secs())
    } else {
        format!("{} ms", limit.as_millis())
    }
}

/// An answer that is not what was asked for; the request is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable(pub Untrusted);

impl Unreadable {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(Untrusted::new(text))
    }

    /// As the fault of a request.
    pub(super) fn of(self, request: &str) -> EngineError {
        EngineError::Unreadable {
            request: request.to_owned(),
            reason: self.0,
        }
    }
}

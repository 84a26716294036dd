//! Why a request got no usable answer, in words for the person who has to do something about it.
//!
//! The text names the Engine's address and what to look at; the causes as the libraries below
//! tell them are kept beside it, for the debug level.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use bollard::errors::Error;

use super::client::{ApiVersion, NEWEST_API, OLDEST_API};
use super::host::DockerHost;
use super::transport::{NoConnection, TooLong};
use crate::model::text::Untrusted;

/// Why a request got no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The Engine could not be reached, or broke off.
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
    /// Something answers that speaks no HTTP, or whose version makes no sense.
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
    /// The causes as the libraries below tell them, where they say more than the error itself.
    pub fn cause(&self) -> String {
        match self {
            Self::Unreachable { cause, .. } => cause.to_string(),
            other => other.to_string(),
        }
    }
}

/// A limit as people say it.
fn seconds(limit: Duration) -> String {
    if limit.subsec_millis() == 0 {
        format!("{} s", limit.as_secs())
    } else {
        format!("{} ms", limit.as_millis())
    }
}

/// What has become of a request, from what bollard says.
pub(super) fn failed(host: &DockerHost, request: &str, error: &Error) -> EngineError {
    let host = host.clone();
    // bollard's wrappers are transparent: they are not among the causes themselves.
    let innermost: &(dyn StdError + 'static) = match error {
        Error::IOError { err } => err,
        Error::HyperResponseError { err } => err,
        other => other,
    };
    if let Some(too_long) = find::<TooLong>(innermost) {
        return EngineError::Unreadable {
            request: request.to_owned(),
            reason: Untrusted::new(too_long.to_string()),
        };
    }
    let cause = Untrusted::new(format!("{request}: {}", with_causes(innermost)));
    let unreachable = |what: &str| EngineError::Unreachable {
        host: host.clone(),
        what: Untrusted::new(what),
        cause: cause.clone(),
    };
    if let Some(fault) = find::<NoConnection>(innermost) {
        return unreachable(&remedy(&host, &fault.cause));
    }
    if let Some(fault) = find::<hyper::Error>(innermost) {
        if fault.is_parse() {
            let what = Untrusted::new(fault.to_string());
            return EngineError::NoEngine { host, what };
        }
        if request == "/version" {
            return unreachable("closes the connection without an answer: is it a Docker Engine?");
        }
    }
    match error {
        Error::DockerResponseServerError {
            status_code,
            message,
        } => EngineError::Refused {
            host,
            request: request.to_owned(),
            status: *status_code,
            message: Untrusted::new(message.trim()),
        },
        Error::JsonDataError { .. } | Error::JsonSerdeError { .. } => EngineError::Unreadable {
            request: request.to_owned(),
            reason: Untrusted::new(error.to_string()),
        },
        _ => unreachable(&format!("the connection broke off during {request}")),
    }
}

/// What an operator makes of a connection that could not be made.
fn remedy(host: &DockerHost, fault: &io::Error) -> String {
    use io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
    let text = match (host, fault.kind()) {
        (DockerHost::Unix(_), NotFound) => "no such file: is Docker running?",
        (DockerHost::Unix(_), PermissionDenied) => {
            "permission denied: root and the members of group docker may connect"
        }
        (DockerHost::Unix(_), ConnectionRefused) => {
            "connection refused, nobody listens at this socket: is Docker running?"
        }
        (DockerHost::Tcp(_), ConnectionRefused) => {
            "connection refused: is Docker running, and does it listen on TCP?"
        }
        _ => return format!("cannot be connected to: {fault}"),
    };
    text.to_owned()
}

/// The first cause of a type. A custom error inside an I/O error is no cause of it by itself.
fn find<'e, T: StdError + 'static>(error: &'e (dyn StdError + 'static)) -> Option<&'e T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(|e| e.get_ref());
        if let Some(inner) = inner {
            let inner: &(dyn StdError + 'static) = inner;
            return find(inner);
        }
        next = error.source();
    }
    None
}

/// An error with its causes, on one line.
fn with_causes(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    // Of a custom error inside an I/O error, the text is that error's own already.
    let mut cause = match find::<NoConnection>(error) {
        Some(no_connection) => no_connection.source(),
        None => error.source(),
    };
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        // Transparent wrappers repeat what they wrap.
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

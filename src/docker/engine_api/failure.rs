//! From bollard's errors to [`EngineError`]: the cause that matters is often several wrappers deep.

use std::error::Error as StdError;
use std::io;

use bollard::errors::Error;

use crate::docker::bound::TooLong;
use crate::docker::error::EngineError;
use crate::docker::host::DockerHost;
use crate::docker::transport::NoConnection;
use crate::model::text::Untrusted;

/// How a request failed.
pub(super) fn failed(host: &DockerHost, request: &str, error: &Error) -> EngineError {
    let host = host.clone();
    // bollard's wrappers are transparent: they are not among the causes themselves.
    let innermost: &(dyn StdError + 'static) = match error {
        Error::IOError { err } => err,
        Error::HyperResponseError { err } => err,
        other => other,
    };
    if let Some(TooLong(bound)) = find::<TooLong>(innermost) {
        return EngineError::TooLong {
            request: request.to_owned(),
            bound: *bound,
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
            "connection refused, nothing listens at this socket: is Docker running?"
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

//! Single requests to one Engine: version, ping, list, inspect, and the subscription to events.
//!
//! Every request is a GET with a time limit that covers connecting, head and body; nothing is
//! retried here. Lists and inspects are read as plain JSON, not into bollard's models: those
//! hold closed enumerations and decode a list as a whole, so that one container in a state
//! that came with a later Engine would hide all the others.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::{Stream, StreamExt};
use http::Uri;
use serde_json::Value;
use tokio::sync::Notify;

use super::convert::{self, Inspected, List};
use super::event::{self, Event};
use super::host::DockerHost;
use super::transport::{self, OnHead, VersionPrefix};
use crate::model::text::Untrusted;

/// The oldest API that is spoken: Engine 19.03, the first whose `network` events and inspect
/// answers have all that is used here.
pub const OLDEST_API: ApiVersion = ApiVersion {
    major: 1,
    minor: 40,
};

/// The newest API that is spoken: Engine 29.3, what bollard 0.21 was made for.
pub const NEWEST_API: ApiVersion = ApiVersion {
    major: 1,
    minor: 53,
};

/// A version of the Engine's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    /// Always 1 so far.
    pub major: u32,
    /// Counts up, with every minor release of the Engine.
    pub minor: u32,
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ApiVersion {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (major, minor) = text.split_once('.').ok_or(())?;
        Ok(Self {
            major: major.parse().map_err(|_| ())?,
            minor: minor.parse().map_err(|_| ())?,
        })
    }
}

/// Why a request got no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The Engine could not be reached, or broke off.
    #[error("{request}: {reason}")]
    Unreachable {
        /// What was asked.
        request: String,
        /// What happened, with its causes.
        reason: Untrusted,
    },
    /// No complete answer within the limit.
    #[error("{request}: no answer within {} ms", after.as_millis())]
    TimedOut {
        /// What was asked.
        request: String,
        /// The limit.
        after: Duration,
    },
    /// The Engine answered, and refused.
    #[error("{request}: the engine refused with status {status}: {message}")]
    Refused {
        /// What was asked.
        request: String,
        /// The HTTP status.
        status: u16,
        /// The Engine's words.
        message: Untrusted,
    },
    /// An answer that makes no sense: perhaps this is no Docker Engine.
    #[error("{request}: the answer cannot be read: {reason}")]
    Unreadable {
        /// What was asked.
        request: String,
        /// What is wrong with it.
        reason: Untrusted,
    },
    /// The Engine is too old.
    #[error("the engine speaks api {engine} at most, and {OLDEST_API} is needed (docker 19.03)")]
    TooOld {
        /// The newest version that the Engine speaks.
        engine: ApiVersion,
    },
    /// The Engine has given up every version that is spoken here.
    #[error("the engine speaks api {engine} at least, and {NEWEST_API} is the newest known here")]
    TooNew {
        /// The oldest version that the Engine speaks.
        engine: ApiVersion,
    },
}

/// An Engine whose version has been negotiated.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
    timeout: Duration,
    /// The API version that every request names.
    pub api_version: ApiVersion,
    /// What the Engine calls itself: `20.10.24+dfsg1`.
    pub engine_version: Untrusted,
}

impl Engine {
    /// Connects and negotiates the API version: the newest that both sides speak. `timeout`
    /// then holds for each request.
    ///
    /// # Errors
    /// Any [`EngineError`]. Nothing was retried.
    pub async fn connect(host: &DockerHost, timeout: Duration) -> Result<Self, EngineError> {
        let prefix: VersionPrefix = Arc::new(OnceLock::new());
        let docker = transport::dial(host, prefix.clone()).map_err(|e| failed("connect", &e))?;
        let request = "/version";
        let answer = within(timeout, request, text(&docker, request)).await?;
        let unreadable = |reason| EngineError::Unreadable {
            request: request.to_owned(),
            reason: Untrusted::new(reason),
        };
        let answer: Value = serde_json::from_str(&answer).map_err(|e| unreadable(e.to_string()))?;
        let (newest, oldest) = (&answer["ApiVersion"], &answer["MinAPIVersion"]);
        let newest: ApiVersion = newest
            .as_str()
            .and_then(|v| v.parse().ok())
            .ok_or_else(|| unreadable(format!("ApiVersion is {newest}")))?;
        if newest < OLDEST_API {
            return Err(EngineError::TooOld { engine: newest });
        }
        // Absent in an answer from a proxy or a look-alike: then nothing is excluded.
        match oldest.as_str().and_then(|v| v.parse().ok()) {
            Some(oldest) if oldest > NEWEST_API => {
                return Err(EngineError::TooNew { engine: oldest });
            }
            _ => {}
        }
        let api_version = newest.min(NEWEST_API);
        // Set once, here: the client is new.
        let _ = prefix.set(format!("/v{api_version}"));
        Ok(Self {
            docker,
            timeout,
            api_version,
            engine_version: Untrusted::new(answer["Version"].as_str().unwrap_or("unknown")),
        })
    }

    /// Asks for a sign of life within `timeout`.
    ///
    /// # Errors
    /// Any [`EngineError`] but the version's. Nothing was retried.
    pub async fn ping(&self, timeout: Duration) -> Result<(), EngineError> {
        within(timeout, "/_ping", self.docker.ping()).await?;
        Ok(())
    }

    /// Lists the running containers.
    ///
    /// # Errors
    /// Any [`EngineError`] but the version's; an odd row is no error. Nothing was retried.
    pub async fn list(&self) -> Result<List, EngineError> {
        let request = "/containers/json";
        let answer = within(self.timeout, request, text(&self.docker, request)).await?;
        convert::list(&answer).map_err(|e| EngineError::Unreadable {
            request: request.to_owned(),
            reason: e.0,
        })
    }

    /// Looks at one container; `None` where there is none of that id.
    ///
    /// # Errors
    /// Any [`EngineError`] but the version's. Nothing was retried.
    pub async fn inspect(&self, id: &str) -> Result<Option<Inspected>, EngineError> {
        let request = format!("/containers/{id}/json");
        let unreadable = |reason| EngineError::Unreadable {
            request: request.clone(),
            reason,
        };
        if !event::is_id(id) {
            return Err(unreadable(Untrusted::from("not an id")));
        }
        match within(self.timeout, &request, text(&self.docker, &request)).await {
            Ok(answer) => match convert::inspect(id, &answer) {
                Ok(inspected) => Ok(Some(inspected)),
                Err(e) => Err(unreadable(e.0)),
            },
            Err(EngineError::Refused { status: 404, .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Subscribes to events, those that the Engine remembers since `since` included. When this
    /// returns, the Engine has answered the request and the subscription stands.
    ///
    /// # Errors
    /// Any [`EngineError`] but the version's. Nothing was retried.
    pub async fn events(&self, since: SystemTime) -> Result<Events, EngineError> {
        let request = "/events";
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
        let filters = HashMap::from([
            ("type", event::TYPES.to_vec()),
            ("event", event::ACTIONS.to_vec()),
        ]);
        let options = EventsOptionsBuilder::default()
            .since(&format!("{}.{:09}", since.as_secs(), since.subsec_nanos()))
            .filters(&filters)
            .build();
        let head = Arc::new(Notify::new());
        let on_head = OnHead(head.clone());
        let docker = self.docker.clone().with_request_modifier(move |mut r| {
            r.extensions_mut().insert(on_head.clone());
            r
        });
        let mut messages: Messages = Box::pin(docker.events(Some(options)));
        // The request is sent, and its answer awaited, by polling the stream.
        let first = tokio::select! {
            biased;
            first = messages.next() => Some(first),
            () = head.notified() => None,
            () = tokio::time::sleep(self.timeout) => {
                return Err(EngineError::TimedOut {
                    request: request.to_owned(),
                    after: self.timeout,
                });
            }
        };
        match first {
            Some(None) => Err(ended()),
            Some(Some(Err(e))) => Err(failed(request, &e)),
            Some(Some(Ok(message))) => Ok(Events {
                first: Some(message),
                messages,
            }),
            None => Ok(Events {
                first: None,
                messages,
            }),
        }
    }
}

type Messages = Pin<Box<dyn Stream<Item = Result<EventMessage, Error>> + Send>>;

/// A subscription to events that stands. It has no time limit: an idle Engine says nothing.
pub struct Events {
    first: Option<EventMessage>,
    messages: Messages,
}

impl Events {
    /// The next event that matters. Cancelling loses nothing.
    ///
    /// # Errors
    /// The stream has broken or ended; there is no next event then.
    pub async fn next(&mut self) -> Result<Event, EngineError> {
        loop {
            let message = match self.first.take() {
                Some(message) => message,
                None => match self.messages.next().await {
                    Some(Ok(message)) => message,
                    Some(Err(e)) => return Err(failed("/events", &e)),
                    None => return Err(ended()),
                },
            };
            if let Some(event) = event::read(message) {
                return Ok(event);
            }
        }
    }
}

fn ended() -> EngineError {
    EngineError::Unreachable {
        request: "/events".to_owned(),
        reason: Untrusted::from("the stream of events has ended"),
    }
}

/// The body of `path`'s answer as it is. bollard has one call that hands a body on undecoded,
/// `ping`; it is sent elsewhere.
async fn text(docker: &Docker, path: &str) -> Result<String, Error> {
    let uri: Uri = format!("http://engine{path}").parse()?;
    let docker = docker.clone().with_request_modifier(move |mut request| {
        *request.uri_mut() = uri.clone();
        request
    });
    docker.ping().await
}

async fn within<T>(
    limit: Duration,
    request: &str,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, EngineError> {
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(e)) => Err(failed(request, &e)),
        Err(_) => Err(EngineError::TimedOut {
            request: request.to_owned(),
            after: limit,
        }),
    }
}

fn failed(request: &str, error: &Error) -> EngineError {
    let request = request.to_owned();
    match error {
        Error::DockerResponseServerError {
            status_code,
            message,
        } => EngineError::Refused {
            request,
            status: *status_code,
            message: Untrusted::new(message.trim()),
        },
        Error::JsonDataError { .. } | Error::JsonSerdeError { .. } => EngineError::Unreadable {
            request,
            reason: Untrusted::new(error.to_string()),
        },
        _ => EngineError::Unreachable {
            request,
            reason: Untrusted::new(transport::with_causes(error)),
        },
    }
}

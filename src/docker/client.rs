//! Single requests to one Engine: version, ping, lists, inspect, and the subscription to events.
//!
//! Every request is a GET with a time limit that covers connecting, head and body; nothing is
//! retried here. Lists and inspects are read as plain JSON, not into bollard's models: those
//! hold closed enumerations and decode a list as a whole, so that one container in a state
//! that came with a later Engine would hide all the others.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::net::Ipv6Addr;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::{Stream, StreamExt};
use http::Uri;
use serde_json::Value;
use tokio::sync::Mutex;

use super::convert::{self, Inspected, List, Unreadable};
pub use super::error::EngineError;
use super::error::failed;
use super::event::{self, Event};
use super::host::DockerHost;
use super::network::{self, Networks};
use super::transport::{self, Bound, MIB, VersionPrefix, Watch};
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

/// Most that is read of a list of containers or networks: a row has about 1.5 KiB, and the
/// labels that people give it.
const LIST_BOUND: Bound = Bound::Whole(64 * MIB);

/// Most that is read of the version: about 1 KiB.
const VERSION_BOUND: Bound = Bound::Whole(MIB);

/// Most that is read of one container or network: about 5 KiB, and its labels and environment.
/// Several are read at once.
const INSPECT_BOUND: Bound = Bound::Whole(4 * MIB);

/// Most that is read of one container with very many ports: 170 bytes for each, of which there may be
/// 65,535 for each protocol. Such are read one at a time.
const LARGE_BOUND: Bound = Bound::Whole(32 * MIB);

/// Most that is read of one event: about 500 bytes, and the container's labels. bollard parses
/// a line anew with every piece that arrives of it, so that a longer one would cost much time,
/// too. A container whose event is longer is found by the list that follows.
const EVENT_BOUND: Bound = Bound::Line(4 * MIB);

/// How long after the answer to a subscription the Engine may be telling from memory. It does so at
/// once, before anything new; what comes later is new, whatever the clocks say.
const TELLS_FROM_MEMORY: Duration = Duration::from_secs(2);

/// An Engine whose version has been negotiated.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
    host: DockerHost,
    timeout: Duration,
    /// Whose turn it is to be read up to [`LARGE_BOUND`].
    large: Arc<Mutex<()>>,
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
        let docker =
            transport::dial(host, prefix.clone()).map_err(|e| failed(host, "connect", &e))?;
        let request = "/version";
        let version = text(&docker, request, VERSION_BOUND);
        let answer = within(timeout, host, request, version).await;
        let no_engine = |what: String| EngineError::NoEngine {
            host: host.clone(),
            what: Untrusted::new(what),
        };
        let answer = answer.map_err(|e| match e {
            EngineError::Refused { status: 404, .. } => no_engine(format!("it has no {request}")),
            EngineError::Unreadable { reason, .. } => no_engine(reason.raw().to_owned()),
            other => other,
        })?;
        let answer: Value = serde_json::from_str(&answer)
            .map_err(|e| no_engine(format!("what it says to {request} is no JSON: {e}")))?;
        let (newest, oldest) = (&answer["ApiVersion"], &answer["MinAPIVersion"]);
        let newest: ApiVersion = newest
            .as_str()
            .and_then(|v| v.parse().ok())
            .ok_or_else(|| no_engine(format!("its ApiVersion is {newest}")))?;
        let host = host.clone();
        if newest < OLDEST_API {
            let engine = newest;
            return Err(EngineError::TooOld { host, engine });
        }
        // Absent in an answer from a proxy or a look-alike: then nothing is excluded.
        match oldest.as_str().and_then(|v| v.parse().ok()) {
            Some(engine) if engine > NEWEST_API => {
                return Err(EngineError::TooNew { host, engine });
            }
            _ => {}
        }
        let api_version = newest.min(NEWEST_API);
        // Set once, here: the client is new.
        let _ = prefix.set(format!("/v{api_version}"));
        Ok(Self {
            docker,
            host,
            timeout,
            large: Arc::default(),
            api_version,
            engine_version: Untrusted::new(answer["Version"].as_str().unwrap_or("unknown")),
        })
    }

    /// Asks for a sign of life within `timeout`.
    ///
    /// # Errors
    /// Any [`EngineError`] but the version's. Nothing was retried.
    pub async fn ping(&self, timeout: Duration) -> Result<(), EngineError> {
        within(timeout, &self.host, "/_ping", self.docker.ping()).await?;
        Ok(())
    }

    /// Lists the running containers.
    ///
    /// # Errors
    /// Any [`EngineError`] but the version's; an odd row is no error. Nothing was retried.
    pub async fn list(&self) -> Result<List, EngineError> {
        let request = "/containers/json";
        let answer = self.get(request, LIST_BOUND).await?;
        convert::list(&answer).map_err(|e| e.of(request))
    }

    /// Lists the networks.
    ///
    /// # Errors
    /// Any [`EngineError`] but the version's; an odd row is no error. Nothing was retried.
    pub async fn networks(&self) -> Result<Networks, EngineError> {
        let request = "/networks";
        let answer = self.get(request, LIST_BOUND).await?;
        network::list(&answer).map_err(|e| e.of(request))
    }

    /// The addresses that one network's containers have on it.
    ///
    /// # Errors
    /// Any [`EngineError`] but the version's. Nothing was retried.
    pub async fn holders(&self, id: &str) -> Result<Vec<(Ipv6Addr, String)>, EngineError> {
        let request = format!("/networks/{id}");
        if !event::is_id(id) {
            return Err(Unreadable::new("not an id").of(&request));
        }
        let answer = self.get(&request, INSPECT_BOUND).await?;
        network::holders(id, &answer).map_err(|e| e.of(&request))
    }

    /// Looks at one container; `None` where there is none of that id.
    ///
    /// # Errors
    /// Any [`EngineError`] but the version's. Nothing was retried.
    pub async fn inspect(&self, id: &str) -> Result<Option<Inspected>, EngineError> {
        let request = format!("/containers/{id}/json");
        if !event::is_id(id) {
            return Err(Unreadable::new("not an id").of(&request));
        }
        let mut answer = self.get(&request, INSPECT_BOUND).await;
        let mut _turn = None;
        if answer.as_ref().is_err_and(|e| is_over(e, INSPECT_BOUND)) {
            _turn = Some(self.large.lock().await);
            answer = self.get(&request, LARGE_BOUND).await;
        }
        match answer {
            Ok(answer) => match convert::inspect(id, &answer) {
                Ok(inspected) => Ok(Some(inspected)),
                Err(e) => Err(e.of(&request)),
            },
            Err(EngineError::Refused { status: 404, .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    async fn get(&self, request: &str, bound: Bound) -> Result<String, EngineError> {
        let answer = text(&self.docker, request, bound);
        within(self.timeout, &self.host, request, answer).await
    }

    /// Subscribes to events, those that the Engine remembers since `since` included. When this
    /// returns, the Engine has answered the request and the subscription stands.
    ///
    /// # Errors
    /// Any [`EngineError`] but the version's. Nothing was retried.
    pub async fn events(&self, since: SystemTime) -> Result<Events, EngineError> {
        let request = "/events";
        let listening_since = SystemTime::now().duration_since(UNIX_EPOCH);
        let listening_since = listening_since.map_or(0, |t| t.as_nanos() as i64);
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
        let filters = HashMap::from([
            ("type", event::TYPES.to_vec()),
            ("event", event::ACTIONS.to_vec()),
        ]);
        let options = EventsOptionsBuilder::default()
            .since(&format!("{}.{:09}", since.as_secs(), since.subsec_nanos()))
            .filters(&filters)
            .build();
        let watch = Watch::default();
        let watched = watch.clone();
        let docker = self.docker.clone().with_request_modifier(move |mut r| {
            r.extensions_mut().insert(watched.clone());
            r.extensions_mut().insert(EVENT_BOUND);
            r
        });
        let mut messages: Messages = Box::pin(docker.events(Some(options)));
        // The request is sent, and its answer awaited, by polling the stream.
        let first = tokio::select! {
            biased;
            first = messages.next() => Some(first),
            () = watch.head.notified() => None,
            () = tokio::time::sleep(self.timeout) => {
                return Err(EngineError::TimedOut {
                    host: self.host.clone(),
                    request: request.to_owned(),
                    after: self.timeout,
                });
            }
        };
        let first = match first {
            Some(None) => return Err(ended(&self.host)),
            Some(Some(Err(e))) => return Err(failed(&self.host, request, &e)),
            Some(Some(Ok(message))) => Some(message),
            None => None,
        };
        Ok(Events {
            host: self.host.clone(),
            watch,
            first,
            messages,
            listening_since,
            remembers_until: Instant::now() + TELLS_FROM_MEMORY,
        })
    }
}

/// Whether the answer was over this bound.
fn is_over(error: &EngineError, bound: Bound) -> bool {
    let said = bound.complaint().to_string();
    matches!(error, EngineError::Unreadable { reason, .. } if reason.raw() == said)
}

type Messages = Pin<Box<dyn Stream<Item = Result<EventMessage, Error>> + Send>>;

/// A subscription to events that stands. It has no time limit: an idle Engine says nothing.
pub struct Events {
    host: DockerHost,
    watch: Watch,
    first: Option<EventMessage>,
    messages: Messages,
    listening_since: i64,
    remembers_until: Instant,
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
                    Some(Err(e)) => return Err(self.broken(&e)),
                    None => return Err(ended(&self.host)),
                },
            };
            let remembers = Instant::now() < self.remembers_until;
            let since = remembers.then_some(self.listening_since);
            if let Some(event) = event::read(message, since) {
                return Ok(event);
            }
        }
    }

    fn broken(&self, error: &Error) -> EngineError {
        match self.watch.too_long.get() {
            Some(too_long) => Unreadable::new(too_long.to_string()).of("/events"),
            None => failed(&self.host, "/events", error),
        }
    }
}

fn ended(host: &DockerHost) -> EngineError {
    let what = Untrusted::from("the stream of events has ended");
    EngineError::Unreachable {
        host: host.clone(),
        cause: what.clone(),
        what,
    }
}

/// The body of `path`'s answer as it is. bollard has one call that hands a body on undecoded,
/// `ping`; it is sent elsewhere.
async fn text(docker: &Docker, path: &str, bound: Bound) -> Result<String, Error> {
    let uri: Uri = format!("http://engine{path}").parse()?;
    let docker = docker.clone().with_request_modifier(move |mut request| {
        *request.uri_mut() = uri.clone();
        request.extensions_mut().insert(bound);
        request
    });
    docker.ping().await
}

async fn within<T>(
    limit: Duration,
    host: &DockerHost,
    request: &str,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, EngineError> {
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(e)) => Err(failed(host, request, &e)),
        Err(_) => Err(EngineError::TimedOut {
            host: host.clone(),
            request: request.to_owned(),
            after: limit,
        }),
    }
}

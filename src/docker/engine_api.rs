//! The Engine's HTTP API through bollard, and the one place that works around bollard. bollard
//! builds the requests, frames HTTP and decodes events; five things are done here instead:
//!
//! - Answers to lists and inspects stay text, and [`super::lenient`] reads them. bollard's models
//!   hold closed enumerations and decode a list as a whole, so that one container in a state that
//!   came with a later Engine would hide all the others. bollard has one call that hands on a body
//!   undecoded, `ping`: [`EngineApi::get`] is that call, sent to another path.
//! - The path names the negotiated version of the API. bollard joins an absolute path to the
//!   address, which drops the version, so that the Engine would answer each request in whatever
//!   version it likes best.
//! - A subscription to events reports when it stands. bollard does not say when the head of an
//!   answer has arrived, and nothing may be listed before.
//! - What is read is bounded ([`super::transport`]); bollard reads whatever comes.
//! - Time limits cover a request from connecting to the last byte; bollard's covers the head.
//!
//! Every request is a GET. Nothing is retried here.

mod failure;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::errors::Error;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use bollard::{BollardRequest, Docker};
use futures_util::{Stream, StreamExt};
use http::{HeaderValue, Uri, header};
use tokio::sync::Notify;

use super::api_version::ApiVersion;
use super::bound::{Bound, MIB};
use super::error::EngineError;
use super::event;
use super::host::DockerHost;
use super::transport::{self, Exceeded};
use crate::model::text::Untrusted;
use failure::failed;

/// bollard's own limit for the head of an answer, in seconds. Ours are shorter and cover the
/// body too; this one only has to be out of the way.
const BOLLARD_TIMEOUT_S: u64 = 3600;

/// Most that is read of the answer to a request that carries no bound; each of ours does.
const SMALL: Bound = Bound::Whole(MIB);

/// Most that is read of one event: about 500 bytes, and the container's labels. bollard parses
/// a line anew with every piece that arrives of it, so that a longer one would cost much time,
/// too. A container whose event is longer is found by the list that follows.
const EVENT_BOUND: Bound = Bound::Line(4 * MIB);

/// One Engine's API. Requests are independent of each other.
#[derive(Debug, Clone)]
pub(super) struct EngineApi {
    docker: Docker,
    host: DockerHost,
    /// `/v1.41`; unset until the version is negotiated.
    version: Arc<OnceLock<String>>,
}

/// What a request carries to the transport, in its extensions, and what it learns there.
#[derive(Clone)]
struct Carried {
    bound: Bound,
    exceeded: Exceeded,
    /// Notified when the head of a successful answer has arrived.
    answered: Arc<Notify>,
}

impl Carried {
    fn new(bound: Bound) -> Self {
        Self {
            bound,
            exceeded: Exceeded::default(),
            answered: Arc::default(),
        }
    }
}

impl EngineApi {
    /// The API of the Engine at `host`. Nothing is connected to yet.
    ///
    /// # Errors
    /// None in practice; bollard's signature has one.
    pub(super) fn new(host: &DockerHost) -> Result<Self, EngineError> {
        let version: Arc<OnceLock<String>> = Arc::default();
        let (to, prefix) = (host.clone(), version.clone());
        let deliver = move |request: BollardRequest| {
            let target = target(prefix.get(), request.uri());
            deliver(to.clone(), request, target)
        };
        let docker = Docker::connect_with_custom_transport(
            deliver,
            Some("http://engine"),
            BOLLARD_TIMEOUT_S,
            bollard::API_DEFAULT_VERSION,
        );
        Ok(Self {
            docker: docker.map_err(|e| failed(host, "connect", &e))?,
            host: host.clone(),
            version,
        })
    }

    /// Every request from now on names this version. Only the first call counts.
    pub(super) fn speak(&self, version: ApiVersion) {
        let _ = self.version.set(format!("/v{version}"));
    }

    /// The body of `request`'s answer as it is.
    ///
    /// # Errors
    /// The request failed, or took longer than `limit`.
    pub(super) async fn get(
        &self,
        request: &str,
        bound: Bound,
        limit: Duration,
    ) -> Result<String, EngineError> {
        let answer = async {
            let uri: Uri = format!("http://engine{request}").parse()?;
            let to = move |sent: &mut BollardRequest| *sent.uri_mut() = uri.clone();
            self.carrying(Carried::new(bound), to).ping().await
        };
        match tokio::time::timeout(limit, answer).await {
            Ok(answer) => answer.map_err(|error| failed(&self.host, request, &error)),
            Err(_) => Err(self.timed_out(request, limit)),
        }
    }

    /// Subscribes to events, those that the Engine remembers since `since` included. When this
    /// returns, the Engine has answered the request and the subscription stands.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(super) async fn events(
        &self,
        since: SystemTime,
        limit: Duration,
    ) -> Result<EventMessages, EngineError> {
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
        let filters = HashMap::from([
            ("type", event::TYPES.to_vec()),
            ("event", event::ACTIONS.to_vec()),
        ]);
        let options = EventsOptionsBuilder::default()
            .since(&format!("{}.{:09}", since.as_secs(), since.subsec_nanos()))
            .filters(&filters)
            .build();
        let carried = Carried::new(EVENT_BOUND);
        let (exceeded, answered) = (carried.exceeded.clone(), carried.answered.clone());
        let docker = self.carrying(carried, |_| {});
        let mut messages = EventMessages {
            host: self.host.clone(),
            exceeded,
            first: None,
            stream: Box::pin(docker.events(Some(options))),
        };
        // The request is sent, and its answer awaited, by polling the stream.
        let first = tokio::select! {
            biased;
            first = messages.next() => Some(first?),
            () = answered.notified() => None,
            () = tokio::time::sleep(limit) => {
                return Err(self.timed_out(EVENTS, limit));
            }
        };
        messages.first = first;
        Ok(messages)
    }

    /// A client whose requests carry this, and are changed like this.
    fn carrying(
        &self,
        carried: Carried,
        change: impl Fn(&mut BollardRequest) + Send + Sync + 'static,
    ) -> Docker {
        self.docker.clone().with_request_modifier(move |mut sent| {
            change(&mut sent);
            sent.extensions_mut().insert(carried.clone());
            sent
        })
    }

    fn timed_out(&self, request: &str, after: Duration) -> EngineError {
        EngineError::TimedOut {
            host: self.host.clone(),
            request: request.to_owned(),
            after,
        }
    }
}

/// The path of the subscription, for messages.
const EVENTS: &str = "/events";

/// A subscription to events that stands. It has no time limit: an idle Engine says nothing.
pub(super) struct EventMessages {
    host: DockerHost,
    exceeded: Exceeded,
    /// One that came with the head of the answer.
    first: Option<EventMessage>,
    stream: Pin<Box<dyn Stream<Item = Result<EventMessage, Error>> + Send>>,
}

impl EventMessages {
    /// The next event. Cancelling loses nothing.
    ///
    /// # Errors
    /// The stream has broken or ended; there is no next event then.
    pub(super) async fn next(&mut self) -> Result<EventMessage, EngineError> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        match self.stream.next().await {
            Some(Ok(message)) => Ok(message),
            Some(Err(error)) => Err(self.broken(&error)),
            None => {
                let what = Untrusted::from("the stream of events has ended");
                Err(EngineError::Unreachable {
                    host: self.host.clone(),
                    cause: what.clone(),
                    what,
                })
            }
        }
    }

    /// bollard's stream does not hand on that a bound was exceeded.
    fn broken(&self, error: &Error) -> EngineError {
        match self.exceeded.get() {
            Some(exceeded) => EngineError::TooLong {
                request: EVENTS.to_owned(),
                bound: exceeded.0,
            },
            None => failed(&self.host, EVENTS, error),
        }
    }
}

/// Carries one of bollard's requests to the Engine.
async fn deliver(
    host: DockerHost,
    mut request: BollardRequest,
    target: Result<Uri, Error>,
) -> Result<http::Response<hyper::body::Incoming>, Error> {
    *request.uri_mut() = target?;
    let name = match &host {
        // A socket has no name.
        DockerHost::Unix(_) => "docker",
        DockerHost::Tcp(authority) => authority,
    };
    let name = HeaderValue::from_str(name).map_err(http::Error::from)?;
    request.headers_mut().insert(header::HOST, name);
    let carried = request.extensions_mut().remove::<Carried>();
    let Carried {
        bound,
        exceeded,
        answered,
    } = carried.unwrap_or_else(|| Carried::new(SMALL));
    let response = transport::send(&host, request, bound, exceeded).await?;
    if response.status().is_success() {
        answered.notify_one();
    }
    Ok(response)
}

/// The address of a request: its path and query, with the version before it. `/version` and
/// `/_ping` exist without one in every Engine, and must not fail on a version that it lacks.
fn target(version: Option<&String>, asked: &Uri) -> Result<Uri, Error> {
    let path = asked.path_and_query().map_or("/", |p| p.as_str());
    let unversioned = matches!(asked.path(), "/version" | "/_ping");
    let version = version.filter(|_| !unversioned).map_or("", String::as_str);
    Ok(format!("{version}{path}").parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_names_the_version_but_those_that_come_before() {
        let version = "/v1.41".to_owned();
        for (asked, sent) in [
            ("http://engine/events?a=b", "/v1.41/events?a=b"),
            ("http://engine/version", "/version"),
            ("http://engine/_ping", "/_ping"),
        ] {
            let asked = asked.parse().expect("an address");
            assert_eq!(target(Some(&version), &asked).expect("valid"), sent);
        }
    }
}

//! Single requests to one Engine: version, ping, lists, inspect, and the subscription to events.
//!
//! Every request is a GET with a time limit that covers connecting, head and body; nothing is
//! retried here.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use tokio::sync::Mutex;

use super::api_version::{ApiVersion, NEWEST_API, OLDEST_API};
use super::bound::{Bound, MIB};
use super::container::{self, ContainerList, Inspected};
use super::engine_api::{EngineApi, EventMessages};
use super::error::{EngineError, Unreadable};
use super::event::{self, Event};
use super::host::DockerHost;
use super::lenient::{self, Field, start};
use super::network::{self, NetworkList};
use crate::model::text::Untrusted;

/// Most that is read of a list of containers or networks: a row has about 1.5 KiB, and the
/// labels that people give it.
const LIST_BOUND: Bound = Bound::Whole(64 * MIB);

/// Most that is read of the version: about 1 KiB.
const VERSION_BOUND: Bound = Bound::Whole(MIB);

/// Most that is read of a ping's answer: `OK`.
const PING_BOUND: Bound = Bound::Whole(MIB);

/// Most that is read of one container or network: about 5 KiB, and its labels and environment.
/// Several are read at once.
const INSPECT_BOUND: Bound = Bound::Whole(4 * MIB);

/// Most that is read of one container with very many ports: 170 bytes for each, of which there may be
/// 65,535 for each protocol. Such are read one at a time.
const LARGE_BOUND: Bound = Bound::Whole(32 * MIB);

/// How long after the answer to a subscription events may be replays. The Engine sends what it
/// remembers at once, before anything new; what comes later is new, whatever the clocks say.
const REPLAY_ENDS_WITHIN: Duration = Duration::from_secs(2);

/// An Engine whose version has been negotiated.
#[derive(Debug, Clone)]
pub struct Engine {
    api: EngineApi,
    timeout: Duration,
    /// Held by the one request that reads up to [`LARGE_BOUND`].
    large: Arc<Mutex<()>>,
    /// The API version that every request names.
    pub api_version: ApiVersion,
    /// What the Engine calls itself: `20.10.24+dfsg1`.
    pub engine_version: Untrusted,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    #[serde(rename = "ApiVersion")]
    newest: Field<String>,
    #[serde(rename = "MinAPIVersion")]
    oldest: Field<String>,
    version: Field<String>,
}

impl Engine {
    /// Connects and negotiates the API version: the newest that both sides speak. `timeout`
    /// then holds for each request.
    ///
    /// # Errors
    /// Any [`EngineError`]. Nothing was retried.
    pub async fn connect(host: &DockerHost, timeout: Duration) -> Result<Self, EngineError> {
        let api = EngineApi::new(host)?;
        let request = "/version";
        let no_engine = |what: String| EngineError::NoEngine {
            host: host.clone(),
            what: Untrusted::new(what),
        };
        let answer = api.get(request, VERSION_BOUND, timeout).await;
        let answer = answer.map_err(|error| match error {
            EngineError::Refused { status: 404, .. } => no_engine(format!("it has no {request}")),
            error => match error.unusable_answer() {
                Some(reason) => no_engine(reason.raw().to_owned()),
                None => error,
            },
        })?;
        let Version {
            newest,
            oldest,
            version,
        } = lenient::parse(&answer)
            .map_err(|e| no_engine(format!("its answer to {request} is no JSON: {}", e.0.raw())))?;
        let newest = newest
            .required()
            .and_then(|text| text.parse().map_err(|()| text));
        let newest: ApiVersion =
            newest.map_err(|text| no_engine(format!("its ApiVersion is {}", start(&text))))?;
        let host = host.clone();
        if newest < OLDEST_API {
            let engine = newest;
            return Err(EngineError::TooOld { host, engine });
        }
        // Absent in an answer from a proxy or a look-alike: then nothing is excluded.
        let oldest = oldest.ok().and_then(|text| text.parse().ok());
        if let Some(engine) = oldest.filter(|oldest| *oldest > NEWEST_API) {
            return Err(EngineError::TooNew { host, engine });
        }
        let api_version = newest.min(NEWEST_API);
        api.speak(api_version);
        Ok(Self {
            api,
            timeout,
            large: Arc::default(),
            api_version,
            engine_version: Untrusted::new(version.ok().unwrap_or_else(|| "unknown".to_owned())),
        })
    }

    /// Asks for a sign of life within `limit`.
    ///
    /// # Errors
    /// Any [`EngineError`] but the version's. Nothing was retried.
    pub async fn ping(&self, limit: Duration) -> Result<(), EngineError> {
        let answer = self.api.get("/_ping", PING_BOUND, limit).await;
        answer.map(drop)
    }

    /// Lists the running containers.
    ///
    /// # Errors
    /// Any [`EngineError`] but the version's; an odd row is no error. Nothing was retried.
    pub async fn list(&self) -> Result<ContainerList, EngineError> {
        self.read("/containers/json", LIST_BOUND, container::list)
            .await
    }

    /// Lists the networks.
    ///
    /// # Errors
    /// Any [`EngineError`] but the version's; an odd row is no error. Nothing was retried.
    pub async fn networks(&self) -> Result<NetworkList, EngineError> {
        self.read("/networks", LIST_BOUND, network::list).await
    }

    /// The addresses that one network's containers have on it.
    ///
    /// # Errors
    /// Any [`EngineError`] but the version's. Nothing was retried.
    pub(crate) async fn holders(&self, id: &str) -> Result<Vec<(Ipv6Addr, String)>, EngineError> {
        let request = format!("/networks/{id}");
        checked(id).map_err(|e| e.of(&request))?;
        let read = |answer: &str| network::holders(id, answer);
        self.read(&request, INSPECT_BOUND, read).await
    }

    /// Inspects one container; `None` where there is none of that id.
    ///
    /// # Errors
    /// Any [`EngineError`] but the version's. Nothing was retried.
    pub async fn inspect(&self, id: &str) -> Result<Option<Inspected>, EngineError> {
        let request = format!("/containers/{id}/json");
        checked(id).map_err(|e| e.of(&request))?;
        let read = |answer: &str| container::inspect(id, answer).map(Some);
        let mut inspected = self.read(&request, INSPECT_BOUND, read).await;
        if matches!(inspected, Err(EngineError::TooLong { .. })) {
            let _turn = self.large.lock().await;
            inspected = self.read(&request, LARGE_BOUND, read).await;
        }
        match inspected {
            Err(EngineError::Refused { status: 404, .. }) => Ok(None),
            inspected => inspected,
        }
    }

    /// The process id of a running container's first process, as the Engine's host sees it; `None`
    /// where the container does not run.
    ///
    /// # Errors
    /// As [`Engine::inspect`].
    pub async fn pid(&self, id: &str) -> Result<Option<u32>, EngineError> {
        let request = format!("/containers/{id}/json");
        checked(id).map_err(|e| e.of(&request))?;
        self.read(&request, LARGE_BOUND, container::pid).await
    }

    async fn read<T>(
        &self,
        request: &str,
        bound: Bound,
        read: impl FnOnce(&str) -> Result<T, Unreadable>,
    ) -> Result<T, EngineError> {
        let answer = self.api.get(request, bound, self.timeout).await?;
        read(&answer).map_err(|e| e.of(request))
    }

    /// Subscribes to events, those that the Engine remembers since `since` included. When this
    /// returns, the Engine has answered the request and the subscription stands.
    ///
    /// # Errors
    /// Any [`EngineError`] but the version's. Nothing was retried.
    pub async fn events(&self, since: SystemTime) -> Result<Events, EngineError> {
        let asked_at = SystemTime::now().duration_since(UNIX_EPOCH);
        let messages = self.api.events(since, self.timeout).await?;
        Ok(Events {
            messages,
            listening_since: asked_at.map_or(0, |t| t.as_nanos() as i64),
            replay_ends: Instant::now() + REPLAY_ENDS_WITHIN,
        })
    }
}

/// An id becomes part of a request's path.
fn checked(id: &str) -> Result<(), Unreadable> {
    event::is_id(id)
        .then_some(())
        .ok_or_else(|| Unreadable::new("not an id"))
}

/// A subscription to events that stands. It has no time limit: an idle Engine says nothing.
pub struct Events {
    messages: EventMessages,
    /// When the subscription was asked for, in nanoseconds since the epoch.
    listening_since: i64,
    replay_ends: Instant,
}

impl Events {
    /// The next event that matters. Cancelling loses nothing.
    ///
    /// # Errors
    /// The stream has broken or ended; there is no next event then.
    pub async fn next(&mut self) -> Result<Event, EngineError> {
        loop {
            let message = self.messages.next().await?;
            let may_be_replayed = Instant::now() < self.replay_ends;
            let since = may_be_replayed.then_some(self.listening_since);
            if let Some(event) = event::read(message, since) {
                return Ok(event);
            }
        }
    }
}

//! What one Engine says now, for a command that asks and ends: which paths it permits, and a
//! complete snapshot.
//!
//! The caller's task does it all; nothing stays open behind it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::timeout;

use super::api_version::ApiVersion;
use super::bound::{Bound, MIB};
use super::client::Engine;
use super::container::Inspected;
use super::engine_api::EngineApi;
use super::error::EngineError;
use super::host::DockerHost;
use super::messages::Loss;
use crate::model::container::Snapshot;
use crate::model::text::Untrusted;
use crate::sys::causes::chain;

/// What to permit in a proxy before the socket: the paths in [`PATHS`].
pub(crate) const PERMIT: &str =
    "permit GET of /version, /events, /containers, /networks and /_ping";

/// The five paths that the daemon requests, in the order in which it does.
pub(crate) const PATHS: [&str; 5] = ["/version", "/events", "/containers", "/networks", "/_ping"];

/// Most that is read of an answer whose content does not matter: the list of containers is the
/// longest.
const ANSWER: Bound = Bound::Whole(64 * MIB);

/// An Engine that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Survey {
    /// The negotiated version of the API and what the Engine calls itself; `None` where it does
    /// not permit the question.
    pub(crate) version: Option<(ApiVersion, Untrusted)>,
    /// Which of [`PATHS`] it refuses, and its words.
    pub(crate) refused: Vec<(&'static str, String)>,
    /// What it says of containers and networks; or why that is not known.
    pub(crate) snapshot: Result<Arc<Snapshot>, String>,
}

/// Asks the Engine at `host`. Each request may take `limit`, and so may the snapshot.
///
/// # Errors
/// It does not answer, or is too old or too new. Nothing was retried.
pub(crate) async fn survey(host: &DockerHost, limit: Duration) -> Result<Survey, EngineError> {
    let engine = match Engine::connect(host, limit).await {
        Ok(engine) => Some(engine),
        Err(error) if Loss::from(&error).refused => None,
        Err(error) => return Err(error),
    };
    let api = EngineApi::new(host)?;
    if let Some(engine) = &engine {
        api.speak(engine.api_version);
    }
    let mut refused = Vec::new();
    for path in PATHS {
        let answer = match path {
            "/events" => api.events(SystemTime::now(), limit).await.map(drop),
            "/containers" => api.get("/containers/json", ANSWER, limit).await.map(drop),
            path => api.get(path, ANSWER, limit).await.map(drop),
        };
        let loss = answer.err().map(|error| Loss::from(&error));
        refused.extend(
            loss.filter(|loss| loss.refused)
                .map(|loss| (path, loss.reason)),
        );
    }
    let snapshot = match engine.as_ref().filter(|_| refused.is_empty()) {
        Some(engine) => match timeout(limit, snapshot(engine)).await {
            Ok(answer) => answer.map(Arc::new).map_err(|error| chain(&error)),
            Err(_) => Err(format!("no complete answer within {} s", limit.as_secs())),
        },
        None => Err("not all paths are permitted".to_owned()),
    };
    Ok(Survey {
        version: engine.map(|engine| (engine.api_version, engine.engine_version)),
        refused,
        snapshot,
    })
}

/// Asks for the running containers, for what the list leaves open about each, and for the networks.
/// A container that stops meanwhile is left out, and one whose answer is malformed is named as such.
///
/// # Errors
/// The Engine does not answer one of the questions. Nothing was retried.
pub(crate) async fn snapshot(engine: &Engine) -> Result<Snapshot, EngineError> {
    let listed = engine.list().await?;
    let mut snapshot = Snapshot {
        odd: listed.odd,
        ..Snapshot::default()
    };
    for row in listed.rows {
        let container = match row.container.filter(|listed| !listed.needs_answer()) {
            Some(container) => container,
            None => match engine.inspect(&row.id).await {
                Ok(Some(Inspected::Running(container))) => *container,
                Ok(Some(Inspected::NotRunning) | None) => continue,
                Err(error) => {
                    let reason = error.unusable_answer().ok_or(error)?;
                    snapshot.unreadable.insert(row.id, reason);
                    continue;
                }
            },
        };
        snapshot.containers.insert(row.id, container.into());
    }
    for network in engine.networks().await?.rows {
        snapshot.networks.insert(network.id.clone(), network);
    }
    Ok(snapshot)
}

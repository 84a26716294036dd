//! What one Engine says now, asked once: which paths it permits, and a complete snapshot.
//!
//! The caller's task does it all; nothing stays open behind it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use slog::{Discard, Logger, o};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::api_version::ApiVersion;
use super::bound::{Bound, MIB};
use super::client::Engine;
use super::engine_api::EngineApi;
use super::error::EngineError;
use super::host::DockerHost;
use super::messages::{FollowSettings, Inbox, Loss, Update};
use super::stream::follow;
use crate::model::container::Snapshot;
use crate::model::text::Untrusted;

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
    let version = match Engine::connect(host, limit).await {
        Ok(engine) => Some((engine.api_version, engine.engine_version)),
        Err(error) if Loss::from(&error).refused => None,
        Err(error) => return Err(error),
    };
    let api = EngineApi::new(host)?;
    if let Some((version, _)) = &version {
        api.speak(*version);
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
    let snapshot = match refused.is_empty() {
        true => snapshot(host, limit).await,
        false => Err("not all paths are permitted".to_owned()),
    };
    Ok(Survey {
        version,
        refused,
        snapshot,
    })
}

/// The first snapshot in which every container has answered; once the time is over, the last one.
async fn snapshot(host: &DockerHost, limit: Duration) -> Result<Arc<Snapshot>, String> {
    let settings = FollowSettings {
        request_timeout: limit,
        ..FollowSettings::new(host.clone())
    };
    // Nobody asks for anything meanwhile.
    let (_commands, commands) = mpsc::channel(1);
    let (_news, interfaces) = mpsc::channel(1);
    let inbox = Inbox {
        commands,
        interfaces,
    };
    let (updates, mut received) = mpsc::channel(1);
    let log = Logger::root(Discard, o!());
    let ends = Instant::now() + limit;
    let mut last = Err(format!("no complete answer within {} s", limit.as_secs()));
    let look = async {
        while let Ok(Some(update)) = timeout_at(ends, received.recv()).await {
            match update {
                Update::Snapshot { snapshot, .. } => {
                    let is_whole = snapshot.unanswered.is_empty();
                    last = Ok(snapshot);
                    if is_whole {
                        break;
                    }
                }
                Update::Lost(loss) => {
                    last = Err(loss.reason);
                    break;
                }
                Update::Connected { .. } | Update::Partial(_) => {}
            }
        }
    };
    tokio::select! {
        () = look => {}
        () = follow(settings, log, inbox, updates) => {}
    }
    last
}

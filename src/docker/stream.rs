//! Follows one Engine for ever: connects, subscribes, lists, and says what Docker says now.
//!
//! ```text
//!            ┌──────────── wait, 100 ms doubling to 10 s ◀───────────┐
//!            ▼                                                       │ any failure: Lost
//!   negotiate version ──▶ subscribe to events ──▶ lists ──▶ inspect doubtful rows ──▶ follow
//!                                                   │                   │               │
//!                                                   ▼                   ▼               ▼
//!                                               Connected           Snapshot        Snapshots
//! ```
//!
//! No event is missed between the subscription and the list. bollard sends the request when its
//! stream is first polled; the list is asked only after the head of the answer has arrived
//! ([`super::client::Engine::events`]). Engine 20.10 sends that head a moment before it enters
//! the subscription, so the request also names a time a few seconds ago: the Engine then replays
//! what it remembers since, in order and under the same lock as the subscription. An event
//! seen twice or late only means that a container is looked at again.
//!
//! One task, the caller's; it may be cancelled at any point, and nothing is lost but questions
//! under way. Events are read even when the receiver of updates is slow, for Engine 20.10 drops
//! events that are not read within 100 ms; meanwhile snapshots replace each other, and only the
//! newest is sent. What is kept is bounded by the number of containers: each is in the queue of
//! questions once, however many events name it.

use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, debug};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::Instant;

use super::backoff::Backoff;
use super::client::{ApiVersion, EngineError};
use super::host::DockerHost;
use super::session::session;
use super::view::View;
use crate::model::container::Snapshot;
use crate::model::interface::InterfaceNews;
use crate::model::text::Untrusted;

/// A session that lasted this long was no flapping: the next loss is waited out from the
/// shortest wait again.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// How an Engine is followed.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the Engine listens.
    pub host: DockerHost,
    /// Limit for each request, from connecting to the last byte.
    pub request_timeout: Duration,
    /// Time between two signs of life that are asked for.
    pub ping_interval: Duration,
    /// Limit for a sign of life.
    pub ping_timeout: Duration,
    /// First wait before connecting again.
    pub shortest_backoff: Duration,
    /// Longest wait before connecting again.
    pub longest_backoff: Duration,
}

impl Settings {
    /// The defaults for an Engine at `host`: 10 s for a request, a ping every 10 s with 5 s to
    /// answer it, 100 ms to 10 s between attempts to connect.
    pub fn new(host: DockerHost) -> Self {
        Self {
            host,
            request_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(5),
            shortest_backoff: Duration::from_millis(100),
            longest_backoff: Duration::from_secs(10),
        }
    }
}

/// What the follower can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// List again, and send a snapshot whether or not anything changed. While the Engine is
    /// away: try to connect now.
    Resync,
}

/// What the follower listens to beside the Engine.
#[derive(Debug)]
pub struct Inbox {
    /// What it is told to do.
    pub commands: Receiver<Command>,
    /// What the kernel tells of interfaces, where the Engine runs on this host. What came before
    /// a connection was begun is passed over.
    pub interfaces: Receiver<InterfaceNews>,
}

/// Why something is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Fit for a log line.
    pub reason: String,
    /// Whether the Engine, or what stands before its socket, does not permit a request.
    pub refused: bool,
}

impl From<&EngineError> for Loss {
    fn from(error: &EngineError) -> Self {
        Self {
            reason: error.to_string(),
            refused: matches!(error, EngineError::Refused { status, .. } if *status < 500),
        }
    }
}

/// What the follower says. Snapshots come only between `Connected` and the next `Lost`, the first
/// one when the first list is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// The Engine answers, and its list has arrived.
    Connected {
        /// The negotiated version of the API.
        api_version: ApiVersion,
        /// What the Engine calls itself.
        engine_version: Untrusted,
    },
    /// The Engine is lost, or could not be reached to begin with. Said once, however many
    /// attempts follow, and again when one fails for another reason.
    Lost(Loss),
    /// The requests that fail while others are answered; empty once none does. Before the networks
    /// were listed once nothing is known.
    Partial(Vec<Loss>),
    /// What Docker says now.
    Snapshot(Arc<Snapshot>),
}

/// Follows the Engine until the receiver of `updates` is dropped. Never fails: whatever goes
/// wrong is an [`Update::Lost`] and is tried again.
pub async fn follow(settings: Settings, log: Logger, mut inbox: Inbox, updates: Sender<Update>) {
    let mut view = View::new();
    let mut backoff = Backoff::new(settings.shortest_backoff, settings.longest_backoff);
    // The reason that was told last, since the last connection.
    let mut told = None;
    let mut look_back = true;
    loop {
        let begun = Instant::now();
        let mut told_connected = false;
        let session = session(
            &settings,
            &log,
            &mut view,
            &mut inbox,
            &updates,
            look_back,
            &mut told_connected,
        );
        let error = tokio::select! {
            error = session => error,
            () = updates.closed() => return,
        };
        view.lost();
        // An event that cannot be read ends the stream, and would end it again if replayed.
        look_back = !matches!(error, EngineError::Unreadable { .. });
        let loss = Loss::from(&error);
        if told_connected || told.as_ref() != Some(&loss) {
            told = Some(loss.clone());
            if updates.send(Update::Lost(loss)).await.is_err() {
                return;
            }
        }
        if begun.elapsed() >= STABLE_AFTER {
            backoff.reset();
        }
        let wait = backoff.wait();
        debug!(log, "connecting to docker again"; "after_ms" => wait.as_millis() as u64,
            "because" => error.cause());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = updates.closed() => return,
            Some(Command::Resync) = inbox.commands.recv() => {}
        }
    }
}

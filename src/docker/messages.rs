//! How an Engine is followed: the settings, what the follower receives, and what it sends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Receiver;

use super::api_version::ApiVersion;
use super::error::EngineError;
use super::host::DockerHost;
use crate::model::container::Snapshot;
use crate::model::interface::InterfaceNews;
use crate::model::text::Untrusted;

/// How an Engine is followed.
#[derive(Debug, Clone)]
pub struct FollowSettings {
    /// Where the Engine listens.
    pub host: DockerHost,
    /// Limit for each request, from connecting to the last byte.
    pub request_timeout: Duration,
    /// Time between two pings.
    pub ping_interval: Duration,
    /// Limit for a ping.
    pub ping_timeout: Duration,
    /// Time between two lists while nothing asks for one.
    pub list_interval: Duration,
    /// First wait before connecting again.
    pub shortest_backoff: Duration,
    /// Longest wait before connecting again.
    pub longest_backoff: Duration,
}

impl FollowSettings {
    /// The defaults for an Engine at `host`: 10 s for a request, a ping every 10 s with 5 s to
    /// answer it, a list every 5 min, 100 ms to 10 s between attempts to connect.
    pub fn new(host: DockerHost) -> Self {
        Self {
            host,
            request_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(5),
            list_interval: Duration::from_secs(5 * 60),
            shortest_backoff: Duration::from_millis(100),
            longest_backoff: Duration::from_secs(10),
        }
    }
}

/// What the follower is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// List again, and send a snapshot whether or not anything changed. While the Engine is
    /// away: try to connect now.
    Resync,
}

/// What the follower listens to beside the Engine.
#[derive(Debug)]
pub struct Inbox {
    /// What it is asked to do.
    pub commands: Receiver<Command>,
    /// What the kernel says of interfaces, where the Engine runs on this host. What came before
    /// a connection was begun is ignored.
    pub interfaces: Receiver<InterfaceNews>,
}

/// Why the Engine, or one kind of request, is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Fit for a log line.
    pub reason: String,
    /// Whether the Engine, or a proxy before its socket, does not permit the request.
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
    /// The Engine is lost, or could not be reached to begin with. Sent once, however many
    /// attempts follow, and again when one fails for another reason.
    Lost(Loss),
    /// The requests that fail while others are answered; empty once none does. Until the networks
    /// are listed there is no snapshot.
    Partial(Vec<Loss>),
    /// What Docker says now.
    Snapshot {
        /// It.
        snapshot: Arc<Snapshot>,
        /// When the first of the events that it follows from was read; `None` for what a list alone
        /// has shown.
        event_at: Option<Instant>,
        /// When the last list was asked for that has been answered.
        listed_at: Option<Instant>,
    },
}

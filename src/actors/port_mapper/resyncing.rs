//! The state of a resync that the operator has asked for.

use std::time::Instant;

use tokio::sync::oneshot;

use crate::actors::messages::Resynced;

/// A resync that has not ended.
pub(super) struct Resyncing {
    /// When the last request for it came.
    pub(super) asked_at: Instant,
    /// Since when it is under way.
    pub(super) began: Instant,
    /// Whether a round has compared the kernel since the last request.
    pub(super) compared: bool,
    pub(super) changed: Resynced,
    /// Who waits for the end.
    pub(super) waiting: Vec<oneshot::Sender<Result<Resynced, String>>>,
}

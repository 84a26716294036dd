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
//! seen twice or late only means that a container is inspected again; one that ends a container is
//! believed only where it is not a replay.
//!
//! One task, the caller's; it may be cancelled at any point, and nothing is lost but questions
//! under way. Events are read even when the receiver of updates is slow, for Engine 20.10 drops
//! events that are not read within 100 ms; meanwhile snapshots replace each other, and only the
//! newest is sent. What is kept is bounded by the number of containers: each is in the queue of
//! questions once, however many events name it.

use std::time::Duration;

use slog::{Logger, debug};
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

use super::backoff::Backoff;
pub use super::messages::{Command, FollowSettings, Inbox, Loss, Update};
use super::session::session;
use super::view::View;

/// A session that lasted this long was no flapping: the next loss is waited out from the
/// shortest wait again.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// Follows the Engine until the receiver of `updates` is dropped. Never fails: whatever goes
/// wrong is an [`Update::Lost`] and is tried again.
pub async fn follow(
    settings: FollowSettings,
    log: Logger,
    mut inbox: Inbox,
    updates: Sender<Update>,
) {
    let mut view = View::default();
    let mut backoff = Backoff::new(settings.shortest_backoff, settings.longest_backoff);
    // The loss that was reported last, since the last connection.
    let mut reported = None;
    let mut replay = true;
    loop {
        let begun = Instant::now();
        let mut announced = false;
        let session = session(
            &settings,
            &log,
            &mut view,
            &mut inbox,
            &updates,
            replay,
            &mut announced,
        );
        let Err(error) = tokio::select! {
            ended = session => ended,
            () = updates.closed() => return,
        };
        view.lost();
        // An event that cannot be read ends the stream, and would end it again if replayed.
        replay = error.unusable_answer().is_none();
        let loss = Loss::from(&error);
        if announced || reported.as_ref() != Some(&loss) {
            reported = Some(loss.clone());
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

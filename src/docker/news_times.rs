//! When the daemon received the news that a snapshot shows.

use std::sync::Arc;
use std::time::Instant;

use super::messages::Update;
use crate::model::container::Snapshot;

/// The times of what the next snapshot shows.
#[derive(Debug, Default)]
pub(super) struct NewsTimes {
    /// When the first event was read that may be behind it.
    event_at: Option<Instant>,
    /// When the last event was read.
    last_event_at: Option<Instant>,
    /// When the list under way was asked for.
    list_begun: Option<Instant>,
    /// When the last list was asked for that has been answered.
    listed_at: Option<Instant>,
}

impl NewsTimes {
    /// An event has just been read.
    pub(super) fn event_read(&mut self) {
        let now = Instant::now();
        self.event_at.get_or_insert(now);
        self.last_event_at = Some(now);
    }

    /// The events so far have changed nothing.
    pub(super) fn nothing_new(&mut self) {
        self.event_at = None;
    }

    /// A list is asked for.
    pub(super) fn list_begun(&mut self) {
        self.list_begun = Some(Instant::now());
    }

    /// It is answered.
    pub(super) fn listed(&mut self) {
        self.listed_at = self.list_begun;
    }

    /// The snapshot with its times. The next one begins anew; but if it `awaits` answers, the last
    /// event may be one that it will show.
    pub(super) fn update(&mut self, snapshot: Arc<Snapshot>, awaits: bool) -> Update {
        let event_at = self.event_at.take();
        if awaits && event_at.is_some() {
            self.event_at = self.last_event_at;
        }
        Update::Snapshot {
            snapshot,
            event_at,
            listed_at: self.listed_at,
        }
    }
}

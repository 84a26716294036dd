//! What the daemon has counted and timed since it started, for monitoring. `status` shows what is;
//! this is what has been.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::connections::ConnectionFigures;
use super::histogram::Histogram;
use super::resync::ResyncReason;
use crate::reconcile::report::{Change, Operation, Report};

/// Counts and times since the start of the process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    /// Published ports that should be open.
    pub wanted: usize,
    /// Published ports that open nothing, by the word for the reason.
    pub closed: BTreeMap<&'static str, usize>,
    /// Changes of rules.
    pub changes: BTreeMap<Change, u64>,
    /// From reading Docker's event to the change of the last rule that follows from it.
    pub event_to_rule: Histogram,
    /// How long the kernel took for a batch of changes.
    pub apply: BTreeMap<Operation, Histogram>,
    /// How long the journal took for a change, until it is on the disk.
    pub journal_sync: Histogram,
    /// The size of the journal's files, in bytes.
    pub journal_bytes: u64,
    /// Full comparisons of Docker, journal and kernel that have succeeded.
    pub resyncs: BTreeMap<ResyncReason, u64>,
    /// Connections to Docker after the first.
    pub docker_reconnects: u64,
    /// Connections that published ports have taken, as last read; `None` where nobody reads them.
    pub connections: Option<ConnectionFigures>,
    /// Since when the writer has had a round to do that has not ended; `None`: it has none.
    pub in_flight_since: Option<Instant>,
}

impl Measured {
    /// Counts what a call of the reconciler has done.
    pub(crate) fn count(&mut self, report: &Report) {
        for (change, times) in &report.changes {
            *self.changes.entry(change.clone()).or_default() += times;
        }
        for (operation, took) in &report.batches {
            self.apply.entry(*operation).or_default().observe(*took);
        }
    }

    /// How long the writer has been at a round; zero while it has none.
    pub(crate) fn late(&self, now: Instant) -> Duration {
        let since = self.in_flight_since;
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

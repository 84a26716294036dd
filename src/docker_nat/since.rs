//! Measures how long a condition has lasted. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long all published ports may be without Docker's DNAT rule before Docker's NAT counts as
/// off, and how long a difference must last before the audit reports it. Between the removal of
/// that rule and the `die` event of its container lie 0.6 s (Engine 20.10) to 0.9 s (28.5).
pub(crate) const SETTLES_AFTER: Duration = Duration::from_secs(3);

/// The conditions that hold, each with its beginning. Times count from any fixed moment.
#[derive(Debug, Clone)]
pub(super) struct Since<T>(BTreeMap<T, Duration>);

impl<T> Default for Since<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Ord + Clone> Since<T> {
    /// Replaces the conditions by those that hold now. One that held before keeps its beginning.
    pub(super) fn note(&mut self, conditions: BTreeSet<T>, now: Duration) {
        let before = std::mem::take(&mut self.0);
        let since = |what: T| {
            let since = before.get(&what).copied().unwrap_or(now);
            (what, since)
        };
        self.0 = conditions.into_iter().map(since).collect();
    }

    /// Lets every condition begin now.
    pub(super) fn restart(&mut self, now: Duration) {
        self.0.values_mut().for_each(|since| *since = now);
    }

    /// The conditions that have lasted for [`SETTLES_AFTER`].
    pub(super) fn settled(&self, now: Duration) -> BTreeSet<T> {
        let long = |since: Duration| now.saturating_sub(since) >= SETTLES_AFTER;
        let settled = self.0.iter().filter(|(_, since)| long(**since));
        settled.map(|(what, _)| what.clone()).collect()
    }

    /// After how long the next condition settles.
    pub(super) fn settles_in(&self, now: Duration) -> Option<Duration> {
        let settles = self.0.values().map(|since| *since + SETTLES_AFTER);
        let next = settles.filter(|at| *at > now).min()?;
        Some(next - now)
    }
}

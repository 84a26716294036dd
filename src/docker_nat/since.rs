//! How long something has been so. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long all published ports may be without Docker's DNAT rule before Docker's NAT counts as
/// off, and how long a difference must last before the audit reports it. Between the removal of
/// that rule and the `die` event of its container lie 0.6 s (Engine 20.10) to 0.9 s (28.5).
pub const SETTLES_AFTER: Duration = Duration::from_secs(3);

/// For each thing that is so, since when. Times count from any fixed moment.
#[derive(Debug, Clone)]
pub(super) struct Since<T>(BTreeMap<T, Duration>);

impl<T> Default for Since<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Ord + Clone> Since<T> {
    /// Takes over what is so now. What was so before keeps its time.
    pub(super) fn note(&mut self, is_so: BTreeSet<T>, now: Duration) {
        let before = std::mem::take(&mut self.0);
        let since = |what: T| {
            let since = before.get(&what).copied().unwrap_or(now);
            (what, since)
        };
        self.0 = is_so.into_iter().map(since).collect();
    }

    /// Counts everything from now on.
    pub(super) fn restart(&mut self, now: Duration) {
        self.0.values_mut().for_each(|since| *since = now);
    }

    /// What has been so for [`SETTLES_AFTER`].
    pub(super) fn settled(&self, now: Duration) -> BTreeSet<T> {
        let long = |since: Duration| now.saturating_sub(since) >= SETTLES_AFTER;
        let settled = self.0.iter().filter(|(_, since)| long(**since));
        settled.map(|(what, _)| what.clone()).collect()
    }

    /// In how long the next will have settled.
    pub(super) fn settles_in(&self, now: Duration) -> Option<Duration> {
        let settles = self.0.values().map(|since| *since + SETTLES_AFTER);
        let next = settles.filter(|at| *at > now).min()?;
        Some(next - now)
    }
}

//! How long to wait before the next attempt.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Waits that double from a shortest to a longest, each shortened by up to a half at random, so
/// that many daemons that lost one Engine do not come back in step.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    shortest: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// A series from `shortest` to `longest`.
    pub(crate) fn new(shortest: Duration, longest: Duration) -> Self {
        Self {
            shortest,
            longest,
            next: shortest,
        }
    }

    /// The next wait.
    pub(crate) fn wait(&mut self) -> Duration {
        let full = self.next.min(self.longest);
        self.next = full.saturating_mul(2).min(self.longest);
        full - full.mul_f64(random_half())
    }

    /// Starts the series again.
    pub(crate) fn reset(&mut self) {
        self.next = self.shortest;
    }
}

/// A number from 0 to below 0.5. The standard library's hash keys are its only randomness,
/// and jitter needs no better.
fn random_half() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 12;
    bits as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_the_longest_with_jitter_of_at_most_a_half() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        for round in 0..2 {
            let mut full = 100;
            for _ in 0..12 {
                let wait = backoff.wait().as_millis();
                assert!(
                    wait * 2 >= full && wait <= full,
                    "{wait} of {full}, {round}"
                );
                full = (full * 2).min(10_000);
            }
            backoff.reset();
        }
    }
}

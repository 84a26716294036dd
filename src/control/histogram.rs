//! A histogram of durations with fixed bounds.

use std::time::Duration;

/// A histogram of durations, with the bounds of [`Histogram::BOUNDS`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    /// How many durations lie in each bucket, and at the end how many are longer than the last bound.
    counts: [u64; Self::BOUNDS.len() + 1],
    sum: Duration,
}

impl Histogram {
    /// The upper bounds of the buckets, inclusive, in microseconds: from 0.5 ms to 8 s, each twice the
    /// one before, but for rounding.
    pub(crate) const BOUNDS: [u64; 15] = [
        500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 125_000, 250_000, 500_000,
        1_000_000, 2_000_000, 4_000_000, 8_000_000,
    ];

    /// Counts one duration.
    pub(crate) fn observe(&mut self, took: Duration) {
        let is_within = |bound: &u64| took <= Duration::from_micros(*bound);
        let bucket = Self::BOUNDS.iter().position(is_within);
        self.counts[bucket.unwrap_or(Self::BOUNDS.len())] += 1;
        self.sum += took;
    }

    /// How many durations are no longer than each bound, and how many there are in all.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = u64> {
        self.counts.iter().scan(0, |total, count| {
            *total += count;
            Some(*total)
        })
    }

    /// The sum of all durations.
    pub(crate) fn sum(&self) -> Duration {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_its_bucket_and_all_above() {
        let mut histogram = Histogram::default();
        for micros in [0, 500, 501, 8_000_000, 8_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let cumulative: Vec<u64> = histogram.cumulative().collect();
        assert_eq!(cumulative[..2], [2, 3]);
        assert_eq!(cumulative[14..], [4, 5]);
        assert_eq!(histogram.sum(), Duration::from_micros(16_001_002));
    }
}

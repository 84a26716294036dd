//! Lets the periodic work of several parts fall on the same moments, so that an idle daemon wakes once for
//! all of it.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// From when the moments are counted.
static BEGAN: OnceLock<Instant> = OnceLock::new();

/// How long it is to the next moment of this period: more than nothing, and a whole period at most.
pub(crate) fn until_next(period: Duration) -> Duration {
    rest(BEGAN.get_or_init(Instant::now).elapsed(), period)
}

fn rest(elapsed: Duration, period: Duration) -> Duration {
    let over = elapsed.as_nanos().checked_rem(period.as_nanos());
    let over = over.and_then(|nanos| u64::try_from(nanos).ok());
    period - Duration::from_nanos(over.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_moment_is_a_whole_number_of_periods_after_the_beginning() {
        let ms = Duration::from_millis;
        let cases = [
            (0, 10, 10),
            (1, 10, 9),
            (9, 10, 1),
            (10, 10, 10),
            (25, 10, 5),
            (25, 0, 0),
        ];
        for (elapsed, period, rest_ms) in cases {
            assert_eq!(
                rest(ms(elapsed), ms(period)),
                ms(rest_ms),
                "{elapsed} {period}"
            );
        }
    }
}

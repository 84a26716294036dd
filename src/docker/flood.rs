//! When events come faster than their containers can be asked about. Pure: `now` is passed in.

use std::time::Duration;

use tokio::time::Instant;

/// How long events are counted, and how long a flood lasts after its last sign.
const WINDOW: Duration = Duration::from_millis(100);

/// More events in a window are a flood: 2,000 a second. An Engine starts some ten containers a
/// second, with three events each; its end, with all of some hundred containers, makes some
/// hundred at once.
const MANY: u32 = 200;

/// Time from one round of questions to the next in a flood. An inspect takes us as long as four
/// events, and the Engine some milliseconds; with 16 to a round these are 500 a second.
const PAUSE: Duration = Duration::from_millis(32);

/// Lets questions go at once, and in rounds while there is a flood: events that are not read in
/// time are lost, and most questions would be void before they are answered.
#[derive(Debug)]
pub(super) struct Flood {
    /// Since when events are counted, and how many there were.
    window: (Instant, u32),
    /// When it is over.
    ends: Instant,
    /// When the next round of questions may begin.
    next_round: Instant,
}

impl Flood {
    /// None so far.
    pub(super) fn none(now: Instant) -> Self {
        Self {
            window: (now, 0),
            ends: now,
            next_round: now,
        }
    }

    /// An event has come.
    pub(super) fn event(&mut self, now: Instant) {
        let (since, events) = &mut self.window;
        if now - *since >= WINDOW {
            (*since, *events) = (now, 0);
        }
        *events += 1;
        if *events > MANY {
            self.ends = now + WINDOW;
        }
    }

    /// Since when, or from when on, questions may be asked.
    pub(super) fn next_round(&self) -> Instant {
        self.next_round
    }

    /// Some have been asked.
    pub(super) fn asked(&mut self, now: Instant) {
        self.next_round = if now < self.ends { now + PAUSE } else { now };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_wait_only_in_a_flood() {
        let began = Instant::now();
        let mut flood = Flood::none(began);
        let at = |ms| began + Duration::from_millis(ms);
        // A thousand a second.
        for ms in 0..1000 {
            flood.event(at(ms));
            flood.asked(at(ms));
            assert!(flood.next_round() <= at(ms));
        }
        // Ten thousand.
        for tenth in 0..10_000 {
            let now = at(1000) + Duration::from_micros(100 * tenth);
            flood.event(now);
        }
        flood.asked(at(2000));
        assert_eq!(flood.next_round(), at(2000) + PAUSE);
        flood.asked(at(2032));
        assert_eq!(flood.next_round(), at(2032) + PAUSE);
        // It is over.
        flood.asked(at(2200));
        assert!(flood.next_round() <= at(2200));
    }
}

//! What was measured, as one table.

use std::time::Duration;

/// Times of one thing.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn new(mut times: Vec<Duration>) -> Self {
        times.sort();
        Self(times)
    }

    pub(crate) fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }

    /// All but one in a hundred are shorter; of fewer than a hundred, the longest.
    fn p99(&self) -> Duration {
        self.0[(self.0.len() * 99 / 100).min(self.0.len() - 1)]
    }
}

/// What counts.
pub(crate) enum Goal {
    /// The median over that of the floor.
    Ratio(f64),
    /// The median, in milliseconds.
    Median(f64),
    /// All but one in a hundred, in milliseconds.
    P99(f64),
    /// Only told.
    None,
}

pub(crate) fn head() {
    println!(
        "{:<52} {:>10} {:>10} {:>10} {:>6}  {:<14} met",
        "", "median", "p99", "floor", "ratio", "goal"
    );
}

pub(crate) fn row(what: &str, times: Vec<Duration>, floor: Option<Vec<Duration>>, goal: Goal) {
    let (times, floor) = (Times::new(times), floor.map(Times::new));
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let ratio = floor
        .as_ref()
        .map(|floor| ms(times.median()) / ms(floor.median()));
    let (words, met) = match goal {
        Goal::Ratio(most) => (format!("{most} × floor"), ratio.map(|r| r <= most)),
        Goal::Median(most) => (format!("{most} ms"), Some(ms(times.median()) <= most)),
        Goal::P99(most) => (format!("{most} ms p99"), Some(ms(times.p99()) <= most)),
        Goal::None => (String::new(), None),
    };
    println!(
        "{what:<52} {:>10} {:>10} {:>10} {:>6}  {words:<14} {}",
        short(times.median()),
        short(times.p99()),
        floor.map_or_else(String::new, |floor| short(floor.median())),
        ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
        match met {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        }
    );
}

fn short(time: Duration) -> String {
    match time.as_secs_f64() * 1e3 {
        ms if ms < 1.0 => format!("{:.1} µs", ms * 1e3),
        ms => format!("{ms:.2} ms"),
    }
}

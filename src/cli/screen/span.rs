//! Spans of time for people.

/// Units, and how many seconds they have; the largest first.
const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];

/// From how many hours on a span is shown in days.
const HOURS_AT_MOST: u64 = 48;

/// The units in which a span is shown, and how many of the first one.
fn units(secs: u64) -> (&'static [(&'static str, u64)], u64) {
    let fits = |(unit, size): &(&str, u64)| match *unit {
        "d" => secs >= HOURS_AT_MOST * 3_600,
        _ => secs >= *size,
    };
    let from = UNITS.iter().position(fits).unwrap_or(UNITS.len() - 1);
    (&UNITS[from..], secs / UNITS[from].1)
}

/// A span in one unit: `40 s`, `4 min`, `47 h`, `2 d`.
pub(in crate::cli) fn short(secs: u64) -> String {
    let (units, count) = units(secs);
    format!("{count} {}", units[0].0)
}

/// A span in two units: `3 h 12 min`.
pub(in crate::cli) fn long(secs: u64) -> String {
    let (units, _) = units(secs);
    let [(_, size), (unit, smaller), ..] = units else {
        return short(secs);
    };
    match secs % size / smaller {
        0 => short(secs),
        rest => format!("{} {rest} {unit}", short(secs)),
    }
}

/// Milliseconds with three digits that count: `2.41 ms`, `24.1 ms`, `241 ms`.
pub(in crate::cli) fn millis(micros: u64) -> String {
    let ms = micros as f64 / 1_000.0;
    match micros {
        0..10_000 => format!("{ms:.2} ms"),
        10_000..100_000 => format!("{ms:.1} ms"),
        _ => format!("{ms:.0} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_shown_in_units_that_fit() {
        for (secs, one, two) in [
            (0, "0 s", "0 s"),
            (59, "59 s", "59 s"),
            (60, "1 min", "1 min"),
            (61, "1 min", "1 min 1 s"),
            (3_600 * 3 + 720, "3 h", "3 h 12 min"),
            (3_600 * 47, "47 h", "47 h"),
            (86_400 * 2 + 3_599, "2 d", "2 d"),
            (86_400 * 400 + 3_600, "400 d", "400 d 1 h"),
        ] {
            assert_eq!((&*short(secs), &*long(secs)), (one, two), "{secs}");
        }
        let ms = [
            (0, "0.00 ms"),
            (2_412, "2.41 ms"),
            (24_120, "24.1 ms"),
            (1_241_000, "1241 ms"),
        ];
        for (micros, text) in ms {
            assert_eq!(millis(micros), text);
        }
    }
}

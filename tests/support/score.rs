//! What a test that harms the daemon counts: one row of the table of `tests/torture`.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

/// The file to which rows are appended; `tests/torture` names it, and prints what is in it.
const TABLE: &str = "DOCKER_NAT66_TORTURE_TABLE";

/// One kind of fault. The row is written when this is dropped, so a failed test writes it, too.
pub(crate) struct Score {
    fault: String,
    tries: u64,
    lost: u64,
    leaked: u64,
    foreign: u64,
    worst: Duration,
}

impl Score {
    /// `fault`: what is done to the daemon, as the table's first column says it.
    pub(crate) fn new(fault: &str) -> Self {
        Self {
            fault: fault.to_owned(),
            tries: 0,
            lost: 0,
            leaked: 0,
            foreign: 0,
            worst: Duration::ZERO,
        }
    }

    /// How many tries there were so far.
    pub(crate) fn tries(&self) -> u64 {
        self.tries
    }

    /// Adds to the table's first column how often a second the fault came.
    pub(crate) fn happened_at(&mut self, rate: f64) {
        self.fault.push_str(&format!(", {rate:.0}/s"));
    }

    /// Counts one more try, after which nothing had to recover.
    pub(crate) fn tried(&mut self) {
        self.tries += 1;
    }

    /// Counts one more try, after which all was well within `took`.
    pub(crate) fn recovered(&mut self, took: Duration) {
        self.tries += 1;
        self.worst = self.worst.max(took);
    }

    /// Counts what is missing and what is there too much (rules, records, connections), copies
    /// included. Returns whether both are the same.
    pub(crate) fn compare<T: Ord>(&mut self, expected: &[T], found: &[T]) -> bool {
        let mut surplus: BTreeMap<&T, i64> = BTreeMap::new();
        for item in found {
            *surplus.entry(item).or_default() += 1;
        }
        for item in expected {
            *surplus.entry(item).or_default() -= 1;
        }
        let leaked: i64 = surplus.values().filter(|count| **count > 0).sum();
        let lost: i64 = surplus.values().filter(|count| **count < 0).sum();
        self.leaked += leaked.unsigned_abs();
        self.lost += lost.unsigned_abs();
        leaked == 0 && lost == 0
    }

    /// Counts `count` things (rules, records, connections) as lost.
    pub(crate) fn lost(&mut self, count: u64) {
        self.lost += count;
    }

    /// Counts lines of other programs' rules that have changed. Returns whether none have.
    pub(crate) fn foreign(&mut self, before: &str, after: &str) -> bool {
        let lines = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let (before, after) = (lines(before), lines(after));
        let touched = before.iter().filter(|line| !after.contains(line)).count()
            + after.iter().filter(|line| !before.contains(line)).count();
        self.foreign += u64::try_from(touched).unwrap_or(u64::MAX);
        touched == 0
    }
}

impl Drop for Score {
    fn drop(&mut self) {
        let Self {
            fault,
            tries,
            lost,
            leaked,
            foreign,
            worst,
        } = self;
        let failed = if std::thread::panicking() {
            "failed"
        } else {
            "passed"
        };
        let worst = worst.as_millis();
        let row = format!("{fault}\t{tries}\t{lost}\t{leaked}\t{foreign}\t{worst}\t{failed}\n");
        eprint!("{row}");
        if let Some(path) = std::env::var_os(TABLE) {
            let table = OpenOptions::new().create(true).append(true).open(path);
            let written = table.and_then(|mut table| table.write_all(row.as_bytes()));
            if let Err(e) = written {
                eprintln!("a row of the table is not written: {e}");
            }
        }
    }
}

//! Faults of the Engine's answers, each logged the first time that it is seen.

use std::collections::BTreeSet;
use std::fmt::Display;

use slog::{Logger, warn};

/// How many are remembered; more are not logged.
const MAX: usize = 1024;

/// What was logged already.
#[derive(Debug)]
pub(super) struct Faults {
    log: Logger,
    logged: BTreeSet<String>,
}

impl Faults {
    /// None so far.
    pub(super) fn new(log: &Logger) -> Self {
        Self {
            log: log.clone(),
            logged: BTreeSet::new(),
        }
    }

    /// Logs a fault, unless it was logged before.
    pub(super) fn log(&mut self, fault: &dyn Display, what: &'static str) {
        let fault = fault.to_string();
        if self.logged.len() < MAX && !self.logged.contains(&fault) {
            warn!(self.log, "{}", what; "fault" => %fault);
            self.logged.insert(fault);
        }
    }
}

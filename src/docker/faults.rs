//! Faults of single answers: each logged the first time that it is seen, and which requests fail
//! while the others are answered.

use std::collections::BTreeSet;
use std::fmt::Display;

use slog::{Logger, warn};

use super::stream::{Loss, Update};

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

/// The requests that fail while the others are answered.
#[derive(Debug, Default)]
pub(super) struct Partial {
    /// Why the networks cannot be listed.
    pub(super) networks: Option<Loss>,
    /// Why no sign of life is given.
    pub(super) ping: Option<Loss>,
    told: Vec<Loss>,
}

impl Partial {
    /// What there is to say, if it is not what was said last.
    pub(super) fn news(&mut self) -> Option<Update> {
        let now: Vec<Loss> = [&self.networks, &self.ping]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        if self.told == now {
            return None;
        }
        self.told.clone_from(&now);
        Some(Update::Partial(now))
    }
}

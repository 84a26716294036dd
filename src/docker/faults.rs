//! Faults of single requests: each is logged the first time that it is seen, and those that last
//! are reported while other requests are answered.

use std::fmt::Display;

use slog::{Logger, warn};

use super::messages::{Loss, Update};
use crate::logging::once::LogOnce;

/// How many are remembered; more are not logged.
const MAX: usize = 1024;

/// What was logged already.
#[derive(Debug)]
pub(super) struct Faults {
    log: Logger,
    logged: LogOnce,
}

impl Faults {
    /// None so far.
    pub(super) fn new(log: &Logger) -> Self {
        Self {
            log: log.clone(),
            logged: LogOnce::up_to(MAX),
        }
    }

    /// Logs a fault, unless it was logged before.
    pub(super) fn log(&mut self, fault: &dyn Display, what: &'static str) {
        let fault = fault.to_string();
        if self.logged.is_new(&fault) {
            warn!(self.log, "{}", what; "fault" => %fault);
        }
    }
}

/// The requests that fail while the others are answered.
#[derive(Debug, Default)]
pub(super) struct Partial {
    /// Why the networks cannot be listed.
    pub(super) networks: Option<Loss>,
    /// Why pings are not answered.
    pub(super) ping: Option<Loss>,
    reported: Vec<Loss>,
}

impl Partial {
    /// The failures, if they are not those that were reported last.
    pub(super) fn news(&mut self) -> Option<Update> {
        let now: Vec<Loss> = [&self.networks, &self.ping]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        if self.reported == now {
            return None;
        }
        self.reported.clone_from(&now);
        Some(Update::Partial(now))
    }
}

//! What the supervisor is told, where there is one (`NOTIFY_SOCKET`, sd_notify(3)).

use std::time::Duration;

use sd_notify::NotifyState;
use slog::{Logger, warn};

/// The daemon's end of it.
#[derive(Debug, Clone)]
pub struct Supervisor {
    log: Logger,
    /// How often the supervisor wants to hear that the daemon lives; `None`: it does not ask.
    pub watchdog: Option<Duration>,
}

impl Supervisor {
    /// Reads the environment (`WATCHDOG_USEC`, `WATCHDOG_PID`).
    pub fn new(log: Logger) -> Self {
        let watchdog = sd_notify::watchdog_enabled();
        Self { log, watchdog }
    }

    /// The first complete list has been applied.
    pub fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// The daemon is leaving.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// What it is doing, in one line.
    pub fn status(&self, text: &str) {
        self.tell(&[NotifyState::Status(text)]);
    }

    /// Every part of it is alive.
    pub fn alive(&self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        if let Err(e) = sd_notify::notify(states) {
            warn!(self.log, "the supervisor was not told"; "reason" => %e);
        }
    }
}

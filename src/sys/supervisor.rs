//! What the supervisor is told, where there is one (`NOTIFY_SOCKET`, sd_notify(3)).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use slog::{Logger, warn};

/// The daemon's end of it.
#[derive(Debug, Clone)]
pub struct Supervisor {
    log: Logger,
    /// How often the supervisor wants to hear that the daemon lives; `None`: it does not ask.
    pub watchdog: Option<Duration>,
    is_ready: Arc<AtomicBool>,
}

impl Supervisor {
    /// Reads the environment (`WATCHDOG_USEC`, `WATCHDOG_PID`).
    pub fn new(log: Logger) -> Self {
        let watchdog = sd_notify::watchdog_enabled();
        let is_ready = Arc::default();
        Self {
            log,
            watchdog,
            is_ready,
        }
    }

    /// The start is over; told once.
    pub fn ready(&self) {
        if !self.is_ready.swap(true, Ordering::Relaxed) {
            self.tell(&[NotifyState::Ready]);
        }
    }

    /// The start has taken as long as it may: the supervisor waits no longer.
    pub fn ready_at_last(&self, doing: &str) {
        warn!(self.log, "still starting, and the supervisor is told to wait no longer"; "doing" => doing);
        self.ready();
    }

    /// Whether it was told that the start is over.
    pub fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
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

    /// It is to wait for so long from now on, if it was going to wait for less
    /// (`EXTEND_TIMEOUT_USEC`).
    pub fn needs(&self, time: Duration) {
        let usec = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        self.tell(&[NotifyState::ExtendTimeoutUsec(usec)]);
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        if let Err(e) = sd_notify::notify(states) {
            warn!(self.log, "the supervisor was not told"; "reason" => %e);
        }
    }
}

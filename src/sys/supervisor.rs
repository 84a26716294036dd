//! Notifies the supervisor, if there is one (`NOTIFY_SOCKET`, sd_notify(3)).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use slog::{Logger, warn};

/// Sends notifications to the supervisor; without one, does nothing.
#[derive(Debug, Clone)]
pub(crate) struct Supervisor {
    log: Logger,
    /// The interval of the supervisor's watchdog; `None` if it has none.
    pub watchdog: Option<Duration>,
    is_ready: Arc<AtomicBool>,
}

impl Supervisor {
    /// Reads the environment (`WATCHDOG_USEC`, `WATCHDOG_PID`).
    pub(crate) fn new(log: Logger) -> Self {
        let watchdog = sd_notify::watchdog_enabled();
        let is_ready = Arc::default();
        Self {
            log,
            watchdog,
            is_ready,
        }
    }

    /// The start is over. Only the first call sends this.
    pub(crate) fn ready(&self) {
        if !self.is_ready.swap(true, Ordering::Relaxed) {
            self.notify(&[NotifyState::Ready]);
        }
    }

    /// The start is not over but has taken too long: counts it as over and logs what the daemon is
    /// doing.
    pub(crate) fn ready_anyway(&self, doing: &str) {
        warn!(self.log, "the start takes long: reporting ready to the supervisor before it is over"; "doing" => doing);
        self.ready();
    }

    /// Whether the supervisor knows that the start is over.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    /// The daemon is leaving.
    pub(crate) fn stopping(&self) {
        self.notify(&[NotifyState::Stopping]);
    }

    /// What the daemon is doing, in one line.
    pub(crate) fn status(&self, text: &str) {
        self.notify(&[NotifyState::Status(text)]);
    }

    /// Every part of the daemon is alive.
    pub(crate) fn alive(&self) {
        self.notify(&[NotifyState::Watchdog]);
    }

    /// Asks the supervisor to wait at least this long from now on (`EXTEND_TIMEOUT_USEC`).
    pub(crate) fn extend_timeout(&self, time: Duration) {
        let usec = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        self.notify(&[NotifyState::ExtendTimeoutUsec(usec)]);
    }

    fn notify(&self, states: &[NotifyState<'_>]) {
        if let Err(e) = sd_notify::notify(states) {
            warn!(self.log, "the supervisor cannot be notified"; "reason" => %e);
        }
    }
}

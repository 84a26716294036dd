//! The signals that the daemon handles, as values.

use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::sys::failpoint;

/// A second request to leave within this time counts as the first one: coreutils' `timeout` sends
/// its signal both to the process and to the process's group.
const DUPLICATE_WITHIN: Duration = Duration::from_secs(1);

/// What a signal asks the daemon to do.
pub(crate) enum SignalAction {
    /// Resync (SIGHUP).
    Resync,
    /// Leave; with the signal's name.
    Leave(&'static str),
}

/// Receives the signals.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// When the first request to leave came.
    asked_to_leave: Option<Instant>,
}

/// Makes the process ignore SIGHUP until [`Signals`] receives it: a start lists everything anyway.
/// The handler that this installs stays, because tokio never removes one.
///
/// # Errors
/// The runtime cannot receive the signal.
pub(crate) fn ignore_hangup() -> std::io::Result<()> {
    signal(SignalKind::hangup()).map(drop)
}

impl Signals {
    /// Receives the signals from now on; they no longer end the process.
    ///
    /// # Errors
    /// The runtime cannot receive them.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            asked_to_leave: None,
        })
    }

    /// Waits for the next request to leave, and passes over resyncs.
    pub(crate) async fn next_leave(&mut self) {
        while !matches!(self.next().await, SignalAction::Leave(_)) {}
    }

    /// Waits for the next signal that asks for something new.
    pub(crate) async fn next(&mut self) -> SignalAction {
        loop {
            let action = tokio::select! {
                _ = self.terminate.recv() => SignalAction::Leave("SIGTERM"),
                _ = self.interrupt.recv() => SignalAction::Leave("SIGINT"),
                _ = self.hangup.recv() => SignalAction::Resync,
            };
            failpoint::panic("a signal is heeded");
            if self.is_new(&action) {
                return action;
            }
        }
    }

    fn is_new(&mut self, action: &SignalAction) -> bool {
        match action {
            SignalAction::Resync => true,
            SignalAction::Leave(_) => match self.asked_to_leave {
                Some(first) => first.elapsed() >= DUPLICATE_WITHIN,
                None => {
                    self.asked_to_leave = Some(Instant::now());
                    true
                }
            },
        }
    }
}

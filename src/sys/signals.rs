//! The signals that the daemon heeds, and what each asks for.

use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::sys::failpoint;

/// Who asks to leave again within this time has the same wish: coreutils' `timeout` sends its
/// signal to the process and to the process's group.
const SAME_WISH: Duration = Duration::from_secs(1);

/// What a signal asks for.
pub enum Wish {
    /// A full comparison (SIGHUP).
    Resync,
    /// To leave; the signal's name.
    Leave(&'static str),
}

/// The signals that the daemon heeds.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// When it was first asked to leave.
    told: Option<Instant>,
}

/// From now on SIGHUP does not end the process, for tokio never puts back what a signal did
/// before. Until there are [`Signals`] nothing comes of it: a start does all that it asks for.
///
/// # Errors
/// The runtime cannot receive it.
pub fn outlive_hangup() -> std::io::Result<()> {
    signal(SignalKind::hangup()).map(drop)
}

impl Signals {
    /// From now on these signals do not end the process.
    ///
    /// # Errors
    /// The runtime cannot receive them.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            told: None,
        })
    }

    /// After the first wish to leave: waits for another.
    pub async fn leave_again(&mut self) {
        while !matches!(self.next().await, Wish::Leave(_)) {}
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Wish {
        loop {
            let wish = tokio::select! {
                _ = self.terminate.recv() => Wish::Leave("SIGTERM"),
                _ = self.interrupt.recv() => Wish::Leave("SIGINT"),
                _ = self.hangup.recv() => Wish::Resync,
            };
            failpoint::panic("a signal is heeded");
            if self.is_new(&wish) {
                return wish;
            }
        }
    }

    fn is_new(&mut self, wish: &Wish) -> bool {
        match wish {
            Wish::Resync => true,
            Wish::Leave(_) => match self.told {
                Some(told) => told.elapsed() >= SAME_WISH,
                None => {
                    self.told = Some(Instant::now());
                    true
                }
            },
        }
    }
}

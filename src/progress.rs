//! Signs of life from work that takes long: a tool that is using the processor, an answer of the
//! kernel's, a batch that the journal has written.
//!
//! An actor at work on 60,000 ports answers nobody for minutes. Whoever watches over it reads here
//! whether it gets on, and lets it; what hangs gives no sign.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many there have been: one number for the process, for it is the process that is judged.
static SIGNS: AtomicU64 = AtomicU64::new(0);

/// A piece of the work has been done.
pub fn made() {
    SIGNS.fetch_add(1, Ordering::Relaxed);
}

/// Tells whether anything has been done since it was asked last.
#[derive(Debug)]
pub struct Observer(u64);

impl Observer {
    /// One that counts from now on.
    pub fn new() -> Self {
        Self(SIGNS.load(Ordering::Relaxed))
    }

    /// Whether there was a sign since the last question.
    pub fn has_seen_any(&mut self) -> bool {
        let now = SIGNS.load(Ordering::Relaxed);
        std::mem::replace(&mut self.0, now) != now
    }
}

impl Default for Observer {
    fn default() -> Self {
        Self::new()
    }
}

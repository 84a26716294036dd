//! Signs of life from work that takes long: for the writer a tool that is using the processor, an
//! answer of the kernel's or the journal's; for the journal a batch that it has written.
//!
//! An actor at work on 60,000 ports answers nobody for minutes. Whoever watches over it reads here
//! whether it gets on, and lets it; what hangs gives no sign.

use std::sync::atomic::{AtomicU64, Ordering};

/// Whose work may take minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worker {
    /// The firewall writer.
    Writer,
    /// The journal.
    Journal,
}

/// How many there have been, by worker: for the process, for it is the process that is judged.
static SIGNS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// A piece of the work has been done.
pub fn made(worker: Worker) {
    SIGNS[worker as usize].fetch_add(1, Ordering::Relaxed);
}

/// Tells whether a worker has done anything since that was asked last.
#[derive(Debug)]
pub struct Observer {
    worker: Worker,
    seen: u64,
}

impl Observer {
    /// One that counts from now on.
    pub fn of(worker: Worker) -> Self {
        let seen = SIGNS[worker as usize].load(Ordering::Relaxed);
        Self { worker, seen }
    }

    /// Whether there was a sign since the last question.
    pub fn has_seen_any(&mut self) -> bool {
        let now = Self::of(self.worker).seen;
        std::mem::replace(&mut self.seen, now) != now
    }
}

//! Counts the progress of work that takes minutes. For the firewall writer a step is a tool that uses
//! the processor, or an answer of the kernel or the journal; for the journal it is a written batch.
//!
//! An actor that works on 60,000 ports answers no message for minutes. The watchdog reads here
//! whether it makes progress or hangs.

use std::sync::atomic::{AtomicU64, Ordering};

/// An actor whose work may take minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worker {
    /// The firewall writer.
    Writer,
    /// The journal.
    Journal,
}

/// Steps by worker. They are counted per process, because the supervisor restarts the process.
static STEPS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Counts one step of a worker.
pub(crate) fn made(worker: Worker) {
    STEPS[worker as usize].fetch_add(1, Ordering::Relaxed);
}

/// Watches the progress of one worker.
#[derive(Debug)]
pub(crate) struct Progress {
    worker: Worker,
    seen: u64,
}

impl Progress {
    /// Counts steps from now on.
    pub(crate) fn of(worker: Worker) -> Self {
        let seen = STEPS[worker as usize].load(Ordering::Relaxed);
        Self { worker, seen }
    }

    /// Whether the worker has done a step since the last call.
    pub(crate) fn is_made(&mut self) -> bool {
        let now = Self::of(self.worker).seen;
        std::mem::replace(&mut self.seen, now) != now
    }
}

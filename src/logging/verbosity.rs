//! Which messages are logged; it can change while the daemon runs.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use slog::{Drain, Level, OwnedKVList, Record};

/// The gravest messages alone, or more of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verbosity {
    /// Why the daemon ends at once.
    Critical,
    /// What it cannot do, besides critical messages.
    Error,
    /// What is unusual, besides errors.
    Warning,
    /// Every forward that opens or closes, besides warnings.
    Info,
    /// Every rule and every decision with its reason, besides info messages.
    Debug,
    /// All messages.
    Trace,
}

impl Verbosity {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::Critical,
        Self::Error,
        Self::Warning,
        Self::Info,
        Self::Debug,
        Self::Trace,
    ];

    /// The least grave messages that are logged.
    pub(super) fn level(self) -> Level {
        match self {
            Self::Critical => Level::Critical,
            Self::Error => Level::Error,
            Self::Warning => Level::Warning,
            Self::Info => Level::Info,
            Self::Debug => Level::Debug,
            Self::Trace => Level::Trace,
        }
    }
}

impl fmt::Display for Verbosity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Self::Critical => "critical",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        };
        f.pad(word)
    }
}

/// The verbosity in use, shared by all loggers of a log.
#[derive(Debug, Clone)]
pub(super) struct Current(Arc<AtomicUsize>);

impl Current {
    pub(super) fn new(verbosity: Verbosity) -> Self {
        Self(Arc::new(AtomicUsize::new(verbosity.level().as_usize())))
    }

    pub(super) fn set(&self, verbosity: Verbosity) {
        self.0
            .store(verbosity.level().as_usize(), Ordering::Relaxed);
    }

    fn includes(&self, level: Level) -> bool {
        level.as_usize() <= self.0.load(Ordering::Relaxed)
    }
}

/// Passes on what the verbosity includes.
pub(super) struct Filter<D> {
    pub(super) drain: D,
    pub(super) current: Current,
}

impl<D: Drain<Ok = (), Err = slog::Never>> Drain for Filter<D> {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), slog::Never> {
        match self.current.includes(record.level()) {
            true => self.drain.log(record, values),
            false => Ok(()),
        }
    }

    fn is_enabled(&self, level: Level) -> bool {
        self.current.includes(level)
    }
}

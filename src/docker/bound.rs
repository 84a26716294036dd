//! How much of an answer is read. Whatever serves the socket may be no Engine, or a broken one; it
//! must not take the host's memory.

use std::fmt;

/// One MiB, in bytes.
pub(super) const MIB: u64 = 1 << 20;

/// The most that is read of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// So many bytes altogether, head included.
    Whole(u64),
    /// So many bytes in one line.
    Line(u64),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(most) => write!(f, "an answer of more than {} MiB", most / MIB),
            Self::Line(most) => write!(f, "a line of more than {} MiB", most / MIB),
        }
    }
}

/// An answer exceeded its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct TooLong(pub(super) Bound);

//! From what Docker says to what should be in the kernel. Pure: the same input always gives
//! the same output, nothing here waits, logs or fails.
//!
//! ```text
//!   Snapshot ──forwards::resolve──▶ forwards + skipped ──rules::desired──▶ Desired
//! ```

pub mod forwards;
pub mod publish;
pub mod rules;

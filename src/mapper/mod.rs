//! From what Docker says to what should be in the kernel. Pure: the same input always gives
//! the same output, nothing here waits, logs or fails.
//!
//! ```text
//!   Snapshot ──forwards::resolve──▶ forwards + skipped ──rules::desired──▶ Desired
//!      └──────networks──────▶ prefixes, sources ───────────────▲
//! ```
//!
//! [`plan::Plan`] does all of it, from the settings, a snapshot and what the host shows.

mod elements;
pub mod forwards;
pub mod health;
mod holders;
pub mod labels;
mod limit;
pub mod networks;
pub mod plan;
pub mod publish;
pub mod published;
pub mod rules;
pub mod skipped;
pub mod standby;

//! From what Docker says to what is to be open. Pure: the same input always gives
//! the same output, nothing here waits, logs or fails.
//!
//! ```text
//!   Snapshot ──forwards::resolve──▶ forwards + skipped ──▶ Intent
//!      └──────networks──────▶ prefixes, sources ─────────────▲
//! ```
//!
//! [`compute::MapperOptions::compute`] does all of it, from the options, a snapshot and what the host
//! shows; and [`standby::admitted`] takes in what Docker's own NAT does, at the last moment.

pub mod compute;
pub mod forwards;
pub mod health;
mod holders;
pub mod labels;
mod limit;
pub mod networks;
pub mod publish;
pub mod published;
pub mod skipped;
pub mod standby;

//! Turns what Docker publishes into what is to be open. Pure: the same input always gives the same
//! output, and nothing here waits, logs or fails.
//!
//! ```text
//!   Snapshot ──forwards::resolve──▶ forwards + skipped ──▶ Intent
//!      └──────networks──────▶ prefixes, sources ─────────────▲
//! ```
//!
//! [`compute::MapperOptions::compute`] does all of it, from the options, a snapshot and the host's
//! facts; what it found of a container it finds again in [`parts`], as long as nothing has changed.
//! [`standby::admitted`] adds, just before the kernel changes, what Docker's own NAT does.

pub mod compute;
pub mod forwards;
pub(crate) mod health;
mod holders;
mod labels;
mod limit;
pub mod networks;
mod part;
pub(crate) mod parts;
mod publish;
pub mod published;
pub(crate) mod remaining;
mod served;
pub(crate) mod skipped;
pub(crate) mod standby;

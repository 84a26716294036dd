//! Explains why nobody reaches a published port: sends one packet through the real kernel as if it
//! had arrived on the egress interface, follows it through every table of everybody, and stops it
//! before it reaches anyone. Only [`knock`], which is done on demand, reaches the container.
//!
//! ```text
//!   published ──▶ question ──▶ probe ──▶ verdict ──▶ way ──▶ diagnosis ──▶ report
//!   what Docker     │       inject,      where it    words,   facts,        text,
//!   says            │       probe_table, ended       owner    remedy        JSON
//!                   ▼       trace
//!                 packet
//! ```
//!
//! All of it runs in the command's process and ends with it. The probe's table belongs to a socket,
//! the BPF program or the tap to a descriptor, so a SIGKILL leaves none of them behind. [`verdict`],
//! [`diagnosis`], [`owner`], [`remedy`], [`trace`], [`place`], [`published`] and [`unlisted`] are pure.

pub(crate) mod address;
mod arrival;
mod container;
pub(crate) mod diagnosis;
pub(crate) mod error;
mod expression;
mod facts;
pub(crate) mod holder;
mod inject;
mod knock;
mod legacy;
mod log_setting;
mod means;
mod neighbour;
#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/oracles/trace.rs"]
pub(crate) mod oracle;
mod owner;
mod packet;
mod place;
mod probe;
mod probe_batch;
mod probe_chains;
mod probe_table;
pub(crate) mod published;
pub(crate) mod question;
mod remedy;
pub(crate) mod report;
mod ruleset;
mod sockets;
mod trace;
pub(crate) mod unlisted;
mod verdict;
pub(crate) mod way;
mod way_back;
mod words;

//! What monitoring reads: figures of the running daemon in Prometheus' text format.
//!
//! [`families`] makes the text from the status and from what was counted and timed since the start
//! ([`crate::control::measured`]), [`text`] is the format, [`process`] the figures that every process
//! has. [`server`] serves it over HTTP, where `--metrics` asks for that, with two answers for health
//! checks ([`health`]). `docker-nat66 metrics` gets the same text over the control socket.

pub mod address;
pub(crate) mod families;
pub(crate) mod health;
mod process;
pub mod server;
mod text;

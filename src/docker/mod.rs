//! Docker: the only place that names bollard.
//!
//! ```text
//!   host ──▶ transport ──▶ client ──▶ stream::follow ──updates──▶ (event watcher)
//!                            │             │    ▲
//!                            ▼             ▼    │ what to ask next, what is known
//!           convert, network, event       view ─┘   (pure)
//! ```
//!
//! [`host`] reads an Engine's address, [`client`] makes single requests over [`transport`],
//! [`convert`], [`network`] and [`event`] turn answers into the model's values, [`view`] keeps what
//! Docker said and decides what to ask next, and [`stream`] runs all this for ever. Nothing is kept on
//! disk: after a crash the Engine is asked again.
//!
//! Only GET requests are ever made, so that a read-only proxy before the socket suffices.

pub mod backoff;
pub mod client;
pub mod convert;
mod error;
pub mod event;
mod faults;
mod flood;
mod holders;
pub mod host;
mod json;
pub mod network;
mod session;
pub mod stream;
mod transport;
pub mod view;

#[cfg(test)]
mod fuzz_tests;
#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/oracles/engine.rs"]
pub(crate) mod oracle;

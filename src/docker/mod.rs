//! The edge to the Docker Engine: the only room that names bollard.
//!
//! ```text
//!   host ─▶ transport ─▶ engine_api ─▶ client ─▶ session, stream ──updates──▶ (event watcher)
//!                                        │            │    ▲
//!                                        ▼            ▼    │ what to ask next, what is known
//!                   container, network, event        view ─┘   (pure)
//! ```
//!
//! [`host`] reads an Engine's address. [`client`] makes single requests through [`engine_api`], the
//! one file that works around bollard, and over [`transport`]. [`container`], [`ports`], [`network`]
//! and [`event`] turn answers into the model's values, read leniently ([`lenient`]). [`view`] keeps
//! what Docker said and knows what to ask next, [`session`] asks it over one connection, and
//! [`stream`] makes one session after the other. [`survey`] asks once what a command wants to know.
//! Nothing is kept on disk: after a crash the Engine is asked again.
//!
//! Only GET requests are ever made, so that a read-only proxy before the socket suffices.

mod api_version;
pub(crate) mod backoff;
mod bound;
pub mod client;
pub mod container;
mod engine_api;
pub mod error;
pub mod event;
mod faults;
mod flood;
mod holders;
pub mod host;
mod lenient;
mod messages;
pub mod network;
mod news_times;
mod pending;
mod ports;
mod session;
pub mod stream;
pub(crate) mod survey;
mod transport;
pub mod view;

#[cfg(test)]
mod fuzz_tests;
#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/oracles/engine.rs"]
pub(crate) mod oracle;

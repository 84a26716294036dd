//! The backend against kernels: the fake one everywhere, the real one in network namespaces of
//! the tests' own, and the tools' misbehaviour with scripts in their place.
//!
//! Tests that need the tools are ignored by a plain `cargo test` and always run by `tests/run`.
//! Nothing here touches the ruleset of the machine.

mod chains;
mod contract;
mod docker_nat;
mod fake;
mod flows;
mod kit;
mod namespace;
mod nftables;
mod packets;
mod real;
mod rules;
mod script;
mod tool;
mod torture;

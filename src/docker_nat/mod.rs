//! What Docker's own IPv6 NAT does: read from the kernel, and turned into one input of what should
//! be in it.
//!
//! ```text
//!   nf_tables, legacy tables ──observer──▶ DockerNat ──gate───▶ StandbyState ──▶ mapper::standby
//!   what Docker publishes ────────────────────┴────────audit──▶ Audit ──▶ log, problems, status
//! ```
//!
//! [`watch::Watch`] puts these together. It runs in the firewall writer's thread, in each round just
//! before the first change, because Docker may have set its rules a moment ago. No task runs here,
//! and nothing here changes the kernel. What is remembered from round to round is the last decision
//! and since when something has been so; after a crash the next daemon decides anew, and until it
//! has decided, the rules in the kernel stay.

pub mod audit;
pub mod gate;
pub(crate) mod legacy;
pub(crate) mod nftables;
pub mod observation;
pub mod observer;
pub mod since;
#[cfg(test)]
pub(crate) mod testing;
pub mod watch;

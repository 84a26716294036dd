//! Finds out what Docker's own IPv6 NAT does: one input of what the kernel should hold.
//!
//! ```text
//!   nf_tables, legacy tables ──observer──▶ DockerNat ──gate───▶ StandbyState ──▶ mapper::standby
//!   what Docker publishes ────────────────────┴────────audit──▶ Audit ──▶ log, problems, status
//! ```
//!
//! [`watch::Watch`] combines these parts. It runs in the firewall writer's thread, in each round
//! just before the first change, because Docker may have set its rules a moment ago. No task runs
//! here, and nothing here changes the kernel. From round to round the room remembers the last
//! decision, and since when each difference has lasted. After a crash the next daemon decides anew;
//! until then, the rules in the kernel stay.

pub(crate) mod audit;
pub(crate) mod gate;
pub(crate) mod legacy;
pub(crate) mod nftables;
pub mod observation;
pub mod observer;
pub(crate) mod since;
#[cfg(test)]
pub(crate) mod testing;
pub mod watch;

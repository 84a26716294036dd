//! docker-nat66 makes Docker's published ports reachable over IPv6: one masquerade per container
//! prefix, one DNAT rule per published port, kept in step with what Docker says, for months.
//!
//! # Bird's-eye view
//!
//! ```text
//!  Docker ──events──▶ EventWatcher ──snapshots──▶ PortMapper ──desired──▶ FirewallWriter ──▶ kernel
//!          docker/      actors/         mapper/       actors/     reconcile/    │  ▲    backend/
//!                                                                       intent │  │ flushed
//!                                                                              ▼  │
//!                                                                      Journal (sled) journal/
//! ```
//!
//! Data flows one way. An event only says "look again": the watcher keeps what Docker says
//! ([`docker`]), the mapper derives what should be in the kernel ([`mapper`], pure), the writer
//! takes in what Docker's own IPv6 NAT does ([`docker_nat`]), compares that with what is applied and
//! changes the kernel ([`reconcile`], [`backend`]), and the journal ([`journal`]) is ahead of every
//! insertion. [`model`] holds the values they share, [`actors`] and [`daemon`] the threads and
//! messages, [`control`] and [`cli`] what a person sees. Below them are [`netlink`] and
//! [`conntrack`], which speak to the kernel, [`logging`], and [`sys`], which serves the process;
//! [`config`] reads what the command line gives.
//!
//! # Invariants a newcomer should know
//!
//! 1. A flushed intent precedes every insertion; a record goes only after its rule is confirmed
//!    gone; a removal never waits for the disk.
//! 2. Only the firewall writer changes the kernel, only the journal actor touches the database,
//!    one change at a time.
//! 3. State, not events: desired is computed anew from the last snapshot, and the difference to
//!    applied goes in as one batch.
//! 4. No DNAT is added and nothing is judged stale before the first list, and nothing of a container
//!    that Docker has listed and not answered about; of two that show one address, the one that
//!    started last has it.
//! 5. What is not ours is never altered, flushed or reordered. Ours carries our comment.
//! 6. A listing counts only if it is complete and certain: unknown is not empty.
//! 7. Fail closed: what Docker does not confirm in time goes; an empty, foreign or host address
//!    never becomes a target.
//! 8. A dead part is a dead process: a panic anywhere ends it, and recovery is the normal start.
//! 9. What the daemon says is what the kernel does.
//!
//! # What is absent, on purpose
//!
//! No writes to Docker (only GET requests), no `ip6tables -C`, no flush of anything, no shell, no
//! second place that decides what should be in the kernel, no state besides the journal.

pub mod actors;
pub mod backend;
pub mod cli;
pub mod config;
pub mod conntrack;
pub mod control;
pub mod daemon;
pub mod docker;
pub mod docker_nat;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod journal;
pub mod logging;
pub mod mapper;
pub mod model;
pub mod netlink;
pub mod reconcile;
pub mod sys;

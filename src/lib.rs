//! docker-nat66 makes Docker's published ports reachable over IPv6: one masquerade per container
//! prefix and one DNAT rule per published port. It follows Docker's events for months.
//!
//! # Bird's-eye view
//!
//! ```text
//!  Docker ──events──▶ EventWatcher ──snapshots──▶ PortMapper ──intents──▶ FirewallWriter ──▶ kernel
//!          docker/      actors/         mapper/       actors/     reconcile/    │  ▲    backend/
//!                                                                       intent │  │ flushed
//!                                                                              ▼  │
//!                                                                      Journal (sled) journal/
//! ```
//!
//! Data flows one way. An event causes a new inspection of Docker, and what ends a container removes it at
//! once: the watcher keeps a snapshot of what Docker says ([`docker`]), the mapper derives the desired state from it ([`mapper`], pure), the
//! writer observes Docker's own IPv6 NAT ([`docker_nat`]), compares desired with applied and changes
//! the kernel ([`reconcile`], [`backend`]), and the journal ([`journal`]) records every insertion
//! before it happens. [`check`] looks at all that decides about packets on this host, and [`explain`]
//! follows one packet through the kernel; neither leaves anything behind, and all that the daemon takes
//! from them is how the rules of other programs are read.
//! [`model`] holds the values they share, [`actors`] and [`daemon`] the threads and messages,
//! [`control`] and [`cli`] what a person sees, and [`metrics`] what
//! monitoring reads. Below them are [`netlink`] and [`conntrack`], which
//! speak to the kernel, [`logging`], and [`sys`], which serves the process; [`config`] reads what the
//! command line gives. In tests only, `fuzzing` holds the properties that untrusted input must keep.
//!
//! # Invariants a newcomer should know
//!
//! 1. A flushed intent precedes every insertion; a record goes only after its rule is confirmed
//!    gone; a removal never waits for the disk.
//! 2. Only the firewall writer changes the kernel, only the journal actor touches the database,
//!    one change at a time.
//! 3. State, not events: desired is recomputed from the last snapshot, and its difference from applied
//!    is one batch.
//! 4. Before the first complete list no DNAT is added and no rule counts as stale; the same holds for
//!    a container that Docker has listed but not answered about. If two containers show one address,
//!    it belongs to the one that started last.
//! 5. The daemon never alters, flushes or reorders what is not its own. Its rules carry its comment.
//! 6. A listing counts only if it is complete and certain: unknown is not empty.
//! 7. Fail closed: a forward that Docker does not confirm in time is removed; an empty, foreign or
//!    host address never becomes a target.
//! 8. A dead part is a dead process: a panic in any thread ends it, and recovery is the normal start.
//! 9. The daemon reports what the kernel does.
//!
//! # What is absent, on purpose
//!
//! No writes to Docker (only GET requests), no `ip6tables -C`, no flush of what is not ours, no shell, no
//! second place that decides what should be in the kernel, no state besides the journal.

pub mod actors;
pub mod backend;
pub(crate) mod check;
pub mod cli;
pub(crate) mod config;
pub mod conntrack;
pub mod control;
pub mod daemon;
pub mod docker;
pub mod docker_nat;
pub(crate) mod explain;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod journal;
pub mod logging;
pub mod mapper;
pub mod metrics;
pub mod model;
pub mod netlink;
pub mod reconcile;
pub mod sys;

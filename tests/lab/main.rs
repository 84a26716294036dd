//! The lab tier: a real Docker Engine, the daemon and a client, in namespaces of the test's own.
//!
//! ```text
//!   client ── eth0 2001:db8::2   ═══ 2001:db8::1, ::11, ::12 eth0 ── host ── docker0 ── container
//!          ── eth1 2001:db8:1::2 ═══ 2001:db8:1::1             eth1 ──      fdfd:5898:4917:1::/64
//! ```
//!
//! [`support::lab`] creates the host, the client, dockerd and the program under test. Each test has
//! a lab of its own, which disappears when the test ends, fails or is killed. `tests/run` runs
//! these tests, because they need root.

mod auto;
mod away;
mod check;
mod crash;
mod degraded;
mod demo;
mod drift;
mod dump;
mod explain;
mod flows;
mod health;
mod hitless;
mod itself;
mod journal;
mod labels;
mod limits;
mod lives;
mod matrix;
mod migration;
mod native;
mod networks;
mod outgoing;
mod owners;
mod podman;
mod ports;
mod reach;
mod refused;
mod routed;
mod soak;
mod steady;
mod storm;
mod story;
mod supervised;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "no tier uses all of it")]
mod support;
mod switch;
mod table;

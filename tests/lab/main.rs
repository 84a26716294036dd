//! The lab: a real Docker Engine, the daemon and a client, in namespaces of the test's own.
//!
//! ```text
//!   client ── eth0 2001:db8::2   ═══ 2001:db8::1, ::11, ::12 eth0 ── host ── docker0 ── container
//!          ── eth1 2001:db8:1::2 ═══ 2001:db8:1::1             eth1 ──      fdfd:5898:4917:1::/64
//! ```
//!
//! [`Lab`](lab::Lab) is a host and a client, [`Engine`](engine::Engine) dockerd, [`Daemon`](daemon::Daemon)
//! the program under test. Each test has its own; all of it goes when the test ends, fails or is
//! killed. `tests/run` runs them, for they need root.

mod auto;
mod away;
mod backend;
mod crash;
mod daemon;
mod degraded;
mod demo;
#[path = "../draw/mod.rs"]
mod draw;
mod drift;
mod dump;
mod elements;
mod engine;
mod flows;
mod health;
mod hitless;
mod home;
mod image;
mod itself;
mod journal;
mod lab;
mod labels;
mod limits;
mod lives;
mod matrix;
mod native;
mod networks;
mod outgoing;
mod owners;
mod podman;
mod ports;
mod reach;
mod refused;
mod release;
mod routed;
mod rules;
#[path = "../score/mod.rs"]
mod score;
mod sctp;
mod soak;
mod space;
mod steady;
mod storm;
mod story;
mod supervised;
mod switch;
mod table;
mod talk;
mod wait;

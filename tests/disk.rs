//! The daemon on a disk that fails it: one that is full, refuses, breaks, vanishes or loses power,
//! and one that gives back what was never written.
//!
//! The kernel and the tools are real, in a namespace of each test's own; the Engine is the fake
//! one. What the system answers is real where that can be had (a small tmpfs, permissions, a
//! directory removed), and put into the daemon's mouth by strace where it cannot: rustix makes
//! its calls without the C library, so a preloaded one would not see them.

#[path = "journal_torture/change.rs"]
mod change;
#[path = "disk/cuts.rs"]
mod cuts;
#[allow(dead_code, reason = "shared: not all of it is used here")]
#[path = "killpoints/daemon.rs"]
mod daemon;
#[path = "disk/damage.rs"]
mod damage;
#[path = "disk/device.rs"]
mod device;
#[path = "draw/mod.rs"]
mod draw;
#[path = "fake_engine/mod.rs"]
mod fake_engine;
#[path = "disk/faults.rs"]
mod faults;
#[allow(dead_code, reason = "shared: not all of it is used here")]
#[path = "killpoints/life.rs"]
mod life;
#[path = "kernel/namespace.rs"]
mod namespace;
#[path = "disk/parents.rs"]
mod parents;
#[path = "disk/power.rs"]
mod power;
#[path = "disk/reboots.rs"]
mod reboots;
#[path = "disk/removal.rs"]
mod removal;
#[allow(dead_code, reason = "shared: not all of it is used here")]
#[path = "killpoints/scene.rs"]
mod scene;
#[path = "score/mod.rs"]
mod score;
#[path = "disk/strace.rs"]
mod strace;
#[path = "disk/trace.rs"]
mod trace;
#[path = "disk/victim.rs"]
mod victim;

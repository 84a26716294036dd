//! The daemon from inside and from close by: panics in any part of it, what it may do and what it
//! shows to whom, hostile clients of its socket, and hostile names.
//!
//! The kernel and the tools are real, in a network namespace of each test's own; the Engine is the
//! fake one.

#[path = "hardened/control.rs"]
mod control;
#[path = "hardened/daemon.rs"]
mod daemon;
#[path = "draw/mod.rs"]
mod draw;
#[path = "fake_engine/mod.rs"]
mod fake_engine;
#[path = "hardened/log.rs"]
mod log;
#[path = "hardened/names.rs"]
mod names;
#[path = "kernel/namespace.rs"]
mod namespace;
#[path = "hardened/panics.rs"]
mod panics;
#[path = "hardened/privileges.rs"]
mod privileges;
#[allow(dead_code, reason = "shared with the tests that kill")]
#[path = "killpoints/scene.rs"]
mod scene;
#[path = "score/mod.rs"]
mod score;

//! The daemon itself among tools and Engines that fail, hang, babble or go away: it says so, keeps
//! what is applied, and is right again by itself when they are well.
//!
//! The kernel is real, in namespaces of each case's own; the Engine is the fake one. The cases of a
//! test run at once, for they mostly wait. By default a sample; in `tests/torture` all of them.

#[path = "outside/daemon.rs"]
mod daemon;
#[path = "outside/engine.rs"]
mod engine;
#[path = "fake_engine/mod.rs"]
mod fake_engine;
#[path = "outside/flood.rs"]
mod flood;
#[path = "outside/lock.rs"]
mod lock;
#[path = "kernel/namespace.rs"]
mod namespace;
#[path = "outside/quarrel.rs"]
mod quarrel;
#[path = "outside/rewriter.rs"]
mod rewriter;
#[allow(dead_code, reason = "what is only for kill points")]
#[path = "killpoints/scene.rs"]
mod scene;
#[path = "score/mod.rs"]
mod score;
#[path = "outside/together.rs"]
mod together;
#[path = "outside/tool.rs"]
mod tool;
#[path = "outside/toolbox.rs"]
mod toolbox;

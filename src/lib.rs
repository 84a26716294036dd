//! docker-nat66 makes Docker's published ports reachable over IPv6.

pub mod actors;
pub mod backend;
pub mod cli;
pub mod config;
pub mod conntrack;
pub mod control;
pub mod daemon;
pub mod docker;
pub mod host;
pub mod journal;
pub mod locks;
pub mod logging;
pub mod mapper;
pub mod model;
pub mod panic_guard;
pub mod panics;
pub mod reconcile;
pub mod text;

//! docker-nat66 makes Docker's published ports reachable over IPv6.

pub mod backend;
pub mod docker;
pub mod journal;
pub mod mapper;
pub mod model;
pub mod panic_guard;

//! The offline tier: what needs no root, no network and no Docker. It takes somewhat more than a
//! minute in a debug build on two cores.
//!
//! The command line, the Docker side against the fake Engine, the journal on small disks and under
//! kills, the tools of ip6tables played by a script, and the walls of the house ([`tidy`]).

mod advisories;
mod asked;
mod cli;
mod docker;
mod ends;
mod fake;
mod journal;
mod readers;
mod readme;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "no tier uses all of it")]
mod support;
mod tidy;
mod tools;
mod unit;
mod usage;

//! The kernel tier: backends and daemons against a real kernel, in namespaces of each test's own.
//!
//! It needs root. The tools are real, the Engine is the fake one; nothing here touches the ruleset of
//! the machine. First the backends alone (`real`, `known`, `nftables`, `docker_nat`, `flows`, `packets`,
//! `torture`), what `check` says of a host ([`check`]), how `explain` follows a packet ([`explain`]) and what
//! `cleanup` removes of other programs ([`migration`]) and says in another namespace ([`elsewhere`]),
//! then daemons that are killed ([`killpoints`]), whose disk fails ([`disk`]), that are
//! harmed from outside ([`outside`]) and from inside ([`hardened`]), what monitoring gets of one
//! ([`monitoring`]), what compares all sides while they change ([`churn`]), what a change takes
//! ([`counts`]), and whether the image of a container outlives a kill and an upgrade ([`images`]).

mod check;
mod churn;
mod counts;
mod disk;
mod docker_nat;
mod elsewhere;
mod explain;
mod flows;
mod goldens;
mod hardened;
mod images;
mod killpoints;
mod known;
mod life;
mod looks;
mod many;
mod migration;
mod monitoring;
mod nftables;
mod outside;
mod packets;
mod real;
mod running;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "no tier uses all of it")]
mod support;
mod torture;

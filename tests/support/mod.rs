//! What the tests of all three tiers and the benches share: namespaces, the fake Engine, the daemon as
//! a process, waiting, scores, random draws.
//!
//! Each program declares it once. [`lab`] holds what the lab tier needs, [`contract`] what every backend
//! must do, [`scene`] and [`daemon`] run daemons for the kernel tier.

pub(crate) mod again;
pub(crate) mod backend;
pub(crate) mod change;
pub(crate) mod contract;
pub(crate) mod daemon;
pub(crate) mod draw;
pub(crate) mod fake_engine;
pub(crate) mod lab;
pub(crate) mod namespace;
pub(crate) mod process;
pub(crate) mod readme;
pub(crate) mod scene;
pub(crate) mod score;
pub(crate) mod shell;
pub(crate) mod strace;
pub(crate) mod together;
pub(crate) mod toolbox;
pub(crate) mod torture;
pub(crate) mod wait;

/// The program under test, built by cargo for this test program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_docker-nat66");

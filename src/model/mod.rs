//! Pure values: what Docker publishes, what a rule is, and how two sets of rules differ.
//!
//! Nothing here performs I/O, reads a clock or logs. The program's edge parses text into these
//! types, and inside the program their values are always valid. This module uses only `std`,
//! `ipnet`, `sha2` and `thiserror`.

pub mod boot;
pub mod change;
pub(crate) mod conditions;
pub mod container;
pub(crate) mod device;
pub mod forward;
pub mod forwards;
pub(crate) mod identity;
pub mod intent;
pub mod interface;
pub(crate) mod problem;
pub mod published;
pub mod rule;
pub mod shared;
pub(crate) mod table;
pub(crate) mod text;

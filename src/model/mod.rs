//! Pure values: what Docker publishes, what a rule is, and how two sets of rules differ.
//!
//! Nothing here performs I/O, reads a clock, logs, or fails at a distance: text is parsed into
//! these types at the program's edge, and inside they cannot be wrong. Only `std`, `ipnet` and
//! `sha2` are used.

pub mod boot;
mod canonical;
pub mod change;
pub mod container;
pub mod device;
pub mod element;
pub mod forward;
pub mod identity;
pub mod intent;
pub mod interface;
pub mod problem;
pub mod published;
pub mod rule;
pub mod text;

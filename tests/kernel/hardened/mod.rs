//! The daemon from inside and from close by: panics in any part of it, what it may do and what it
//! shows to whom, hostile clients of its socket, and hostile names.
//!
//! The kernel and the tools are real, in a network namespace of each test's own; the Engine is the
//! fake one.

mod control;
mod log;
mod names;
mod panics;
mod privileges;

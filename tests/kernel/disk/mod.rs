//! The daemon on a disk that fails it: one that is full, refuses, breaks, vanishes or loses power,
//! and one that gives back what was never written.
//!
//! The kernel and the tools are real, in a namespace of each test's own; the Engine is the fake
//! one. What the system answers is real where that can be had (a small tmpfs, permissions, a
//! directory removed), and injected by strace where it cannot: rustix makes its calls without the C
//! library, so a preloaded library would not see them.

mod cuts;
mod damage;
mod device;
mod faults;
mod parents;
mod power;
mod reboots;
mod removal;
mod trace;
mod victim;

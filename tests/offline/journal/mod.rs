//! The journal alone: on disks that are full or read-only, and killed at any moment.

mod disk;
mod torture;

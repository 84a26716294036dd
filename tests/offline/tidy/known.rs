//! What is still to go. An entry that is not found any more must be taken off its list.

/// Files that use each other in a circle.
pub(super) const IN_CIRCLES: [&str; 0] = [];

/// Layer and name of public types that are declared more than once in it.
pub(super) const TWICE: [&str; 0] = [];

//! The command line of docker-nat66.
fn main() {}

//! Connections as the kernel lists them, and the deletions made of them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docker_nat66::fuzzing::check("conntrack", bytes));

//! Our table as the kernel dumps it, answers to batches, and Docker's own rules.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docker_nat66::fuzzing::check("nftables", bytes));

//! The kernel's reports of a packet's way, and the rules that it has met.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docker_nat66::fuzzing::check("trace", bytes));

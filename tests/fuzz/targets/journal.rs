//! Records and the sentinel.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docker_nat66::fuzzing::check("journal", bytes));

//! What ip6tables-save prints.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docker_nat66::fuzzing::check("ip6tables", bytes));

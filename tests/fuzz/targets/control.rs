//! Requests to the control socket, and answers of it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docker_nat66::fuzzing::check("control", bytes));

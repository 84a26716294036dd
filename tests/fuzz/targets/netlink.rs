//! Netlink's framing.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docker_nat66::fuzzing::check("netlink", bytes));

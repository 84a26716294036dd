//! Rules of others as nf_tables shows them and the legacy tools print them, and what they drop.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docker_nat66::fuzzing::check("ruleset", bytes));

//! Feeds `revocation_lists`; what it promises is in the control plane's own `fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taut_control::fuzzing::revocation_lists(bytes));

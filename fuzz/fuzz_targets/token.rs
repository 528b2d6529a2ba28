//! Feeds tokens and key sets; what is promised is in the proxy's own `fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taut_proxy::fuzzing::token(bytes));

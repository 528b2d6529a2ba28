//! Feeds the answer of an authorizer; what is promised is in the proxy's own `fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taut_proxy::fuzzing::authorizer(bytes));

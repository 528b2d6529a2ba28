//! Feeds `certificate`; what it promises is in the proxy's own `fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taut_proxy::fuzzing::certificate(bytes));

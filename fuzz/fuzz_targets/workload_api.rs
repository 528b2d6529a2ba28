//! Feeds `workload_api`; what it promises is in the proxy's own `fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taut_proxy::fuzzing::workload_api(bytes));

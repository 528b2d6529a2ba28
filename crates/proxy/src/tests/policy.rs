//! Timeouts, retries, faults, header changes, mirrors.

//! What happened: record types, every metric, span and field name, and the sinks that turn records into metrics and logs.

pub mod record;

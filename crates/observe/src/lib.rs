//! What happened: record types, every metric, span and field name, and the sinks that turn records into metrics and logs.

pub mod access_log;
pub mod flags;
pub mod metrics;
pub mod names;
pub mod record;
mod series;
pub mod tally;
pub mod text;

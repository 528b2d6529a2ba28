//! What happened: record types, every metric, span and field name, and the sinks that turn records into metrics and logs.

pub mod access_log;
pub mod exposition;
pub mod flags;
pub mod labels;
pub mod metrics;
pub mod names;
pub mod profile;
pub mod record;
pub mod secrets;
mod series;
pub mod tally;
pub mod text;

//! The neutral model as protobuf and back, field by field. Encoding cannot fail; decoding names the field that is wrong.

mod action;
mod authorizer;
mod cors;
mod destination;
#[cfg(test)]
mod destinations;
mod field;
mod headers;
mod matching;
mod origin;
mod policy;
mod preference;
mod rate_limit;
mod route;
mod service;
mod settings;
#[cfg(test)]
mod strategy;
mod telemetry;
#[cfg(test)]
mod tests;
mod token;
mod trust;
mod workload;

pub use field::Malformed;

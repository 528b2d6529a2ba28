//! The control plane: API, sources, translation, authority, delivery.

pub mod access;
pub mod agent;
pub mod api;
pub mod audit;
pub mod authority;
mod calls;
pub mod changes;
mod condition;
pub mod dashboard;
pub mod fault;
#[cfg(test)]
mod fixture;
#[doc(hidden)]
pub mod fuzzing;
mod https;
pub mod incidents;
pub mod issuers;
pub mod kubernetes;
pub mod least;
pub mod lint;
pub mod outside;
pub mod pages;
mod profiling;
pub mod prometheus;
pub mod proposal;
pub mod proxies;
pub mod publish;
pub mod recording;
pub mod registry;
pub mod request;
pub mod run;
pub mod serve;
pub mod side;
pub mod signal_routes;
pub mod signals;
pub mod signing;
pub mod slices;
pub mod source;
pub mod status;
pub mod stopping;
pub mod store;
mod tap;
mod tls;
pub mod translate;
pub mod trial;
pub mod trust;
pub mod upstream;
pub mod view;
pub mod why;
pub mod world;

pub use authority::limits::IssuanceLimits;
pub use fault::Fault;
pub use kubernetes::Kubernetes;
pub use run::{Foreign, Options, Running, run, start};
pub use upstream::UpstreamCa;
pub use world::World;

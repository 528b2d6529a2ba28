//! The control plane: API, sources, translation, authority, delivery.

pub mod access;
pub mod api;
pub mod authority;
pub mod changes;
mod condition;
pub mod dashboard;
pub mod fault;
mod https;
pub mod issuers;
pub mod lint;
pub mod pages;
pub mod prometheus;
pub mod proposal;
pub mod proxies;
pub mod publish;
pub mod registry;
pub mod request;
pub mod run;
pub mod serve;
pub mod side;
mod signal_routes;
pub mod signals;
pub mod slices;
pub mod source;
pub mod status;
pub mod stopping;
pub mod store;
mod tap;
pub mod translate;
pub mod trial;
pub mod view;
pub mod why;
pub mod world;

pub use fault::Fault;
pub use run::{Options, Running, run, start};
pub use world::World;

//! The control plane: API, sources, translation, authority, delivery.

pub mod authority;
mod condition;
pub mod fault;
pub mod proxies;
pub mod registry;
pub mod store;
pub mod translate;
pub mod view;
pub mod world;

pub use fault::Fault;
pub use world::World;

//! The control plane: API, sources, translation, authority, delivery.

pub mod authority;
pub mod fault;
pub mod world;

pub use fault::Fault;
pub use world::World;

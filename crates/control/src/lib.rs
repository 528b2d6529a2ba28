//! The control plane: API, sources, translation, authority, delivery.

pub mod api;
pub mod store;

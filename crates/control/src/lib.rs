//! The control plane: API, sources, translation, authority, delivery.

pub mod translate;
pub mod api;
pub mod store;

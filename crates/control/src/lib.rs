//! The control plane: API, sources, translation, authority, delivery.

pub mod store;

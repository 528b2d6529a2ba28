//! HTTP/2 on a byte stream. Knows nothing of the mesh.

pub mod frame;
pub mod fuzzing;
pub mod hpack;
pub mod reason;
pub mod settings;

#[cfg(test)]
mod tests;

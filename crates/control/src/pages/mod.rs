//! What the dashboard's pages show of the mesh: the published model and what went over its edges, put together. It changes nothing.

mod asked;
mod detail;
mod graph;
mod routes;
mod security;
mod services;
#[cfg(test)]
mod tests;
mod traffic;
mod words;

pub use routes::{Pages, router};
pub use security::Decisions;
pub use traffic::Traffic;

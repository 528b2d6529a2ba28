//! The bookstore: five services (and a small store) with Bookinfo's names, ports and versions, each a process of its own.
//! It is what the demo shows, what the end-to-end tests drive, and what the fault lab breaks. It knows nothing of the mesh
//! but the addresses in its environment, as any application would.
//!
//! ```text
//! productpage:9080 --HTTP--> details:9080      productpage --gRPC--> details:9090
//! productpage      --HTTP--> reviews:9080 (v1 no stars, v2 black stars, v3 red stars)
//! reviews v2, v3   --HTTP--> ratings:9080      ratings     --TCP---> store:7000 (one connection, kept)
//! details     --HTTP--> the catalogue that BOOKS names, which is no part of the mesh; only where it names one
//! ```

pub mod app;
mod books;
mod client;
mod details;
mod generated;
pub mod load;
pub mod manifests;
mod page;
mod productpage;
mod ratings;
mod reviews;
mod server;
mod stock;
mod store;
pub mod trouble;

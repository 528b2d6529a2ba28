//! Clients and servers that people use, through two sidecars and mutual TLS between them: what ran is told in a table at the end.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod app;
mod grpc_web;
mod http1;
mod message;
mod pair;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod tcp;
mod tools;

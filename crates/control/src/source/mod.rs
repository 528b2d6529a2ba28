//! Where configuration comes from besides the API.

pub mod directory;
mod file;

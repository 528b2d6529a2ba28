//! The data plane: the only crate that touches application traffic.

pub mod current;
pub mod evidence;
pub mod identity;
pub mod options;
pub mod ring;
pub mod sink;
pub mod world;

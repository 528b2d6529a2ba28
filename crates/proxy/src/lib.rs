//! The data plane: the only crate that touches application traffic.

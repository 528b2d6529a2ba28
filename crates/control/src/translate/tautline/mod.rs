//! Tautline's own kinds, translated; `api` is their shape.

mod api;
mod health_check;
mod objective;
mod rate_limit;

pub use health_check::health_check;
pub use objective::{Promised, service_level_objective};
pub use rate_limit::{rate_limit, refuse_everything};

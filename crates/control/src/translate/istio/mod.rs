//! Istio's networking and security resources, translated; `api` is their shape, the others their meaning.

mod api;
mod cors;
mod delegates;
mod destination_rule;
mod guard;
mod http;
mod http_action;
mod parts;
mod security;
mod service_entry;
mod virtual_service;

pub use delegates::Merger;
pub use destination_rule::destination_rule;
pub use guard::{guarded, guarded_spec};
pub use security::{authorization_policy, deny_everything, is_dry_run, peer_authentication, strict};
pub use service_entry::{service_entry, workload_entry};
pub use virtual_service::virtual_service;

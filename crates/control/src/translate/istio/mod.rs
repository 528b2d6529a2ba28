//! Istio's networking and security resources, translated; `api` is their shape, the others their meaning.

pub mod api;
mod attach;
mod cors;
mod delegates;
mod destination_rule;
mod guard;
mod http;
mod http_action;
mod locality;
mod parts;
mod security;
mod service_entry;
mod tokens;
mod virtual_service;

pub use attach::{readable, selector};
pub use delegates::Merger;
pub use destination_rule::destination_rule;
pub use guard::{guarded, guarded_spec};
pub use security::{authorization_policy, authorization_rule, deny_everything, is_dry_run, peer_authentication, stand_in, strict};
pub use service_entry::{service_entry, workload_entry};
pub use tokens::{no_requests, request_authentication};
pub use virtual_service::virtual_service;

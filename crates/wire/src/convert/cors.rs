//! Which pages of other origins may read responses.

use super::field::{Malformed, encoded, list, optional_duration, required, to_duration};
use crate::generated::mesh as proto;
use taut_model::route as model;

impl From<&model::Cors> for proto::Cors {
    fn from(cors: &model::Cors) -> Self {
        Self {
            origin: Some((&cors.origin).into()),
            allow_origins: encoded(&cors.allow_origins),
            allow_methods: to_allowed(&cors.allow_methods),
            allow_headers: to_allowed(&cors.allow_headers),
            expose_headers: cors.expose_headers.clone(),
            max_age: cors.max_age.map(to_duration),
            credentials: cors.credentials == model::Credentials::Allowed,
            refuse_strangers: cors.strangers == model::StrangersPreflight::Refuse,
        }
    }
}

impl TryFrom<proto::Cors> for model::Cors {
    type Error = Malformed;
    fn try_from(cors: proto::Cors) -> Result<Self, Malformed> {
        Ok(Self {
            origin: required("origin", cors.origin)?,
            allow_origins: list("allow_origins", cors.allow_origins)?,
            allow_methods: allowed(cors.allow_methods),
            allow_headers: allowed(cors.allow_headers),
            expose_headers: cors.expose_headers,
            max_age: optional_duration("max_age", cors.max_age)?,
            credentials: if cors.credentials { model::Credentials::Allowed } else { model::Credentials::Withheld },
            strangers: if cors.refuse_strangers { model::StrangersPreflight::Refuse } else { model::StrangersPreflight::Forward },
        })
    }
}

fn to_allowed(allowed: &model::Allowed) -> Option<proto::Allowed> {
    match allowed {
        model::Allowed::Listed(listed) if listed.is_empty() => None,
        model::Allowed::Listed(listed) => Some(proto::Allowed { listed: listed.clone(), asked: false }),
        model::Allowed::Asked => Some(proto::Allowed { listed: Vec::new(), asked: true }),
    }
}

fn allowed(allowed: Option<proto::Allowed>) -> model::Allowed {
    match allowed.unwrap_or_default() {
        proto::Allowed { asked: true, .. } => model::Allowed::Asked,
        proto::Allowed { listed, .. } => model::Allowed::Listed(listed),
    }
}

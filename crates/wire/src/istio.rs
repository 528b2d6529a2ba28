//! What Istio's clients say beside their certificate requests.

use crate::certificate::IstioCertificateRequest;
use prost_types::value::Kind;
use prost_types::{Struct, Value};

/// Metadata of a refusal: the trust domain that the names in a certificate request must be of.
pub const TRUST_DOMAIN: &str = "taut-trust-domain";

/// The identity for which a node's proxy asks on behalf of a workload of its node.
pub fn impersonated(request: &IstioCertificateRequest) -> Option<&str> {
    match &request.metadata.as_ref()?.fields.get("ImpersonatedIdentity")?.kind {
        Some(Kind::StringValue(identity)) => Some(identity),
        _ => Some("somebody who is not named by text"),
    }
}

/// Such metadata, all of it text.
pub fn metadata(all: &[(&str, &str)]) -> Struct {
    let value = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    Struct { fields: all.iter().map(|(name, text)| ((*name).to_owned(), value(text))).collect() }
}

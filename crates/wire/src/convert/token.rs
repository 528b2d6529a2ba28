//! Which tokens requests may carry.

use super::field::{Malformed, encoded, list, required, required_duration, to_duration};
use super::headers::{pairs, to_pairs};
use crate::generated::mesh as proto;
use taut_model::policy as model;

impl From<&model::RequestAuthentication> for proto::RequestAuthentication {
    fn from(policy: &model::RequestAuthentication) -> Self {
        Self {
            origin: Some((&policy.origin).into()),
            namespace: policy.namespace.clone(),
            selector: policy.selector.clone(),
            services: policy.services.clone(),
            rules: encoded(&policy.rules),
            closed: policy.closed,
        }
    }
}

impl TryFrom<proto::RequestAuthentication> for model::RequestAuthentication {
    type Error = Malformed;
    fn try_from(policy: proto::RequestAuthentication) -> Result<Self, Malformed> {
        Ok(Self {
            origin: required("origin", policy.origin)?,
            namespace: policy.namespace,
            selector: policy.selector,
            services: policy.services,
            rules: list("rules", policy.rules)?,
            closed: policy.closed,
        })
    }
}

impl From<&model::TokenRule> for proto::TokenRule {
    fn from(rule: &model::TokenRule) -> Self {
        let headers = rule.headers.iter().map(|header| proto::Header { name: header.name.clone(), value: header.prefix.clone() });
        Self {
            origin: Some((&rule.origin).into()),
            issuer: rule.issuer.clone(),
            audiences: rule.audiences.clone(),
            keys: Some((&rule.keys).into()),
            headers: headers.collect(),
            parameters: rule.parameters.clone(),
            cookies: rule.cookies.clone(),
            payload_header: rule.payload_header.clone(),
            claim_headers: to_pairs(&rule.claim_headers),
            forward: rule.forward,
            spaced_claims: rule.spaced_claims.clone(),
        }
    }
}

impl TryFrom<proto::TokenRule> for model::TokenRule {
    type Error = Malformed;
    fn try_from(rule: proto::TokenRule) -> Result<Self, Malformed> {
        let header = |header: proto::Header| model::TokenHeader { name: header.name, prefix: header.value };
        Ok(Self {
            origin: required("origin", rule.origin)?,
            issuer: rule.issuer,
            audiences: rule.audiences,
            keys: required("keys", rule.keys)?,
            headers: rule.headers.into_iter().map(header).collect(),
            parameters: rule.parameters,
            cookies: rule.cookies,
            payload_header: rule.payload_header,
            claim_headers: pairs(rule.claim_headers),
            forward: rule.forward,
            spaced_claims: rule.spaced_claims,
        })
    }
}

impl From<&model::TokenKeys> for proto::token_rule::Keys {
    fn from(keys: &model::TokenKeys) -> Self {
        match keys {
            model::TokenKeys::Inline(text) => Self::Inline(text.clone()),
            model::TokenKeys::Fetched { uri, timeout, keys } => {
                Self::Fetched(proto::FetchedKeys { uri: uri.clone(), timeout: Some(to_duration(*timeout)), keys: keys.clone() })
            }
        }
    }
}

impl TryFrom<proto::token_rule::Keys> for model::TokenKeys {
    type Error = Malformed;
    fn try_from(keys: proto::token_rule::Keys) -> Result<Self, Malformed> {
        Ok(match keys {
            proto::token_rule::Keys::Inline(text) => Self::Inline(text),
            proto::token_rule::Keys::Fetched(fetched) => {
                Self::Fetched { uri: fetched.uri, timeout: required_duration("timeout", fetched.timeout)?, keys: fetched.keys }
            }
        })
    }
}

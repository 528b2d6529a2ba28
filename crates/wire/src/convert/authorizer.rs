//! Servers that decide about requests.

use super::field::{Malformed, required_duration, short, to_duration};
use super::headers::{pairs, to_pairs};
use crate::generated::mesh as proto;
use taut_model::authorizer as model;

impl From<&model::Authorizer> for proto::Authorizer {
    fn from(authorizer: &model::Authorizer) -> Self {
        use proto::authorizer::Protocol;
        let protocol = match &authorizer.protocol {
            model::AuthorizerProtocol::Grpc => Protocol::Grpc(()),
            model::AuthorizerProtocol::Http(http) => Protocol::Http(proto::AuthorizerHttp {
                path_prefix: http.path_prefix.clone(),
                request_headers: http.request_headers.clone(),
                added_headers: to_pairs(&http.added_headers),
                to_upstream: http.to_upstream.clone(),
                to_client_on_deny: http.to_client_on_deny.clone(),
                to_client_on_allow: http.to_client_on_allow.clone(),
            }),
        };
        Self {
            host: authorizer.host.clone(),
            port: authorizer.port.into(),
            timeout: Some(to_duration(authorizer.timeout)),
            fail_open: authorizer.fail_open,
            status_on_error: authorizer.status_on_error.into(),
            body: authorizer.body.as_ref().map(|body| proto::BodySent { most: body.most, partly: body.partly }),
            protocol: Some(protocol),
        }
    }
}

impl TryFrom<proto::Authorizer> for model::Authorizer {
    type Error = Malformed;
    fn try_from(authorizer: proto::Authorizer) -> Result<Self, Malformed> {
        use proto::authorizer::Protocol;
        let protocol = match authorizer.protocol.ok_or_else(|| Malformed::missing("protocol"))? {
            Protocol::Grpc(()) => model::AuthorizerProtocol::Grpc,
            Protocol::Http(http) => model::AuthorizerProtocol::Http(model::AuthorizerHttp {
                path_prefix: http.path_prefix,
                request_headers: http.request_headers,
                added_headers: pairs(http.added_headers),
                to_upstream: http.to_upstream,
                to_client_on_deny: http.to_client_on_deny,
                to_client_on_allow: http.to_client_on_allow,
            }),
        };
        Ok(Self {
            host: authorizer.host,
            port: short("port", authorizer.port)?,
            timeout: required_duration("timeout", authorizer.timeout)?,
            fail_open: authorizer.fail_open,
            status_on_error: short("status_on_error", authorizer.status_on_error)?,
            body: authorizer.body.map(|body| model::BodySent { most: body.most, partly: body.partly }),
            protocol,
        })
    }
}

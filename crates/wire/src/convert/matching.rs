//! What a rule asks of a request: paths, texts, headers.

use super::field::{Malformed, encoded, list, optional, optional_short, required};
use crate::generated::mesh as proto;
use taut_model::route as model;

impl From<&model::HttpMatch> for proto::HttpMatch {
    fn from(http: &model::HttpMatch) -> Self {
        Self {
            origin: Some((&http.origin).into()),
            path: http.path.as_ref().map(Into::into),
            ignore_path_case: http.ignore_path_case,
            method: http.method.as_ref().map(Into::into),
            scheme: http.scheme.as_ref().map(Into::into),
            authority: http.authority.as_ref().map(Into::into),
            headers: encoded(&http.headers),
            without_headers: encoded(&http.without_headers),
            query: encoded(&http.query),
            port: http.port.map(Into::into),
            source_labels: http.source_labels.clone(),
            source_namespace: http.source_namespace.clone(),
        }
    }
}

impl TryFrom<proto::HttpMatch> for model::HttpMatch {
    type Error = Malformed;
    fn try_from(http: proto::HttpMatch) -> Result<Self, Malformed> {
        Ok(Self {
            origin: required("origin", http.origin)?,
            path: optional("path", http.path)?,
            ignore_path_case: http.ignore_path_case,
            method: optional("method", http.method)?,
            scheme: optional("scheme", http.scheme)?,
            authority: optional("authority", http.authority)?,
            headers: list("headers", http.headers)?,
            without_headers: list("without_headers", http.without_headers)?,
            query: list("query", http.query)?,
            port: optional_short("port", http.port)?,
            source_labels: http.source_labels,
            source_namespace: http.source_namespace,
        })
    }
}

impl From<&model::PathMatch> for proto::PathMatch {
    fn from(path: &model::PathMatch) -> Self {
        use proto::path_match::By;
        let by = match path.clone() {
            model::PathMatch::Exact(text) => By::Exact(text),
            model::PathMatch::Prefix(text) => By::Prefix(text),
            model::PathMatch::Segments(text) => By::Segments(text),
            model::PathMatch::Regex(text) => By::Regex(text),
            model::PathMatch::Grpc { service, method } => {
                By::Grpc(proto::GrpcMethod { service: service.as_ref().map(Into::into), method: method.as_ref().map(Into::into) })
            }
        };
        Self { by: Some(by) }
    }
}

impl TryFrom<proto::PathMatch> for model::PathMatch {
    type Error = Malformed;
    fn try_from(path: proto::PathMatch) -> Result<Self, Malformed> {
        use proto::path_match::By;
        match path.by {
            None => Err(Malformed::unspecified("")),
            Some(By::Exact(text)) => Ok(Self::Exact(text)),
            Some(By::Prefix(text)) => Ok(Self::Prefix(text)),
            Some(By::Segments(text)) => Ok(Self::Segments(text)),
            Some(By::Regex(text)) => Ok(Self::Regex(text)),
            Some(By::Grpc(grpc)) => {
                Ok(Self::Grpc { service: optional("grpc.service", grpc.service)?, method: optional("grpc.method", grpc.method)? })
            }
        }
    }
}

impl From<&model::TextMatch> for proto::TextMatch {
    fn from(text: &model::TextMatch) -> Self {
        use proto::text_match::By;
        let by = match text.clone() {
            model::TextMatch::Exact(text) => By::Exact(text),
            model::TextMatch::Prefix(text) => By::Prefix(text),
            model::TextMatch::Regex(text) => By::Regex(text),
            model::TextMatch::Present => By::Present(()),
        };
        Self { by: Some(by) }
    }
}

impl TryFrom<proto::TextMatch> for model::TextMatch {
    type Error = Malformed;
    fn try_from(text: proto::TextMatch) -> Result<Self, Malformed> {
        use proto::text_match::By;
        match text.by {
            None => Err(Malformed::unspecified("")),
            Some(By::Exact(text)) => Ok(Self::Exact(text)),
            Some(By::Prefix(text)) => Ok(Self::Prefix(text)),
            Some(By::Regex(text)) => Ok(Self::Regex(text)),
            Some(By::Present(())) => Ok(Self::Present),
        }
    }
}

impl From<&model::NamedMatch> for proto::NamedMatch {
    fn from(named: &model::NamedMatch) -> Self {
        Self { name: named.name.clone(), value: Some((&named.value).into()) }
    }
}

impl TryFrom<proto::NamedMatch> for model::NamedMatch {
    type Error = Malformed;
    fn try_from(named: proto::NamedMatch) -> Result<Self, Malformed> {
        Ok(Self { name: named.name, value: required("value", named.value)? })
    }
}

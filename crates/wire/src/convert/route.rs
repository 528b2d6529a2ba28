//! Routes, their rules and their backends.

use super::field::{Malformed, choice, encoded, list, optional, optional_duration, optional_short, percent, required, to_duration};
use super::headers::{header_change, to_header_change};
use crate::generated::mesh as proto;
use proto::http_rule::Action;
use taut_model::route as model;

impl From<&model::Route> for proto::Route {
    fn from(route: &model::Route) -> Self {
        Self {
            origin: Some((&route.origin).into()),
            dialect: proto::Dialect::from(route.dialect).into(),
            parents: encoded(&route.parents),
            consumer_namespace: None,
            hostnames: route.hostnames.clone(),
            created: route.created.clone(),
            http: encoded(&route.http),
            tcp: encoded(&route.tcp),
            consumer_namespaces: route.consumer_namespaces.clone(),
            protocol: proto::RouteProtocol::from(route.protocol).into(),
            sampling: route.sampling,
        }
    }
}

impl TryFrom<proto::Route> for model::Route {
    type Error = Malformed;
    fn try_from(route: proto::Route) -> Result<Self, Malformed> {
        Ok(Self {
            origin: required("origin", route.origin)?,
            dialect: choice::<proto::Dialect, _>("dialect", route.dialect)?,
            protocol: choice::<proto::RouteProtocol, _>("protocol", route.protocol)?,
            parents: list("parents", route.parents)?,
            consumer_namespaces: route.consumer_namespace.into_iter().chain(route.consumer_namespaces).collect(),
            hostnames: route.hostnames,
            created: route.created,
            http: list("http", route.http)?,
            tcp: list("tcp", route.tcp)?,
            sampling: route.sampling.map(|number| percent("sampling", number)).transpose()?,
        })
    }
}

impl From<model::Dialect> for proto::Dialect {
    fn from(dialect: model::Dialect) -> Self {
        match dialect {
            model::Dialect::Istio => Self::Istio,
            model::Dialect::GatewayApi => Self::GatewayApi,
        }
    }
}

impl TryFrom<proto::Dialect> for model::Dialect {
    type Error = Malformed;
    fn try_from(dialect: proto::Dialect) -> Result<Self, Malformed> {
        match dialect {
            proto::Dialect::Unspecified => Err(Malformed::unspecified("")),
            proto::Dialect::Istio => Ok(Self::Istio),
            proto::Dialect::GatewayApi => Ok(Self::GatewayApi),
        }
    }
}

impl From<model::RouteProtocol> for proto::RouteProtocol {
    fn from(protocol: model::RouteProtocol) -> Self {
        match protocol {
            model::RouteProtocol::Grpc => Self::Grpc,
            model::RouteProtocol::Http => Self::Http,
            model::RouteProtocol::Tls => Self::Tls,
            model::RouteProtocol::Tcp => Self::Tcp,
        }
    }
}

impl TryFrom<proto::RouteProtocol> for model::RouteProtocol {
    type Error = Malformed;
    fn try_from(protocol: proto::RouteProtocol) -> Result<Self, Malformed> {
        Ok(match protocol {
            proto::RouteProtocol::Grpc => Self::Grpc,
            proto::RouteProtocol::Unspecified | proto::RouteProtocol::Http => Self::Http,
            proto::RouteProtocol::Tls => Self::Tls,
            proto::RouteProtocol::Tcp => Self::Tcp,
        })
    }
}

impl From<&model::Parent> for proto::Parent {
    fn from(parent: &model::Parent) -> Self {
        Self { host: parent.host.clone(), port: parent.port.map(Into::into) }
    }
}

impl TryFrom<proto::Parent> for model::Parent {
    type Error = Malformed;
    fn try_from(parent: proto::Parent) -> Result<Self, Malformed> {
        Ok(Self { host: parent.host, port: optional_short("port", parent.port)? })
    }
}

impl From<&model::HttpRule> for proto::HttpRule {
    fn from(rule: &model::HttpRule) -> Self {
        Self {
            origin: Some((&rule.origin).into()),
            name: rule.name.clone(),
            matches: encoded(&rule.matches),
            action: Some((&rule.action).into()),
            rewrite: rule.rewrite.as_ref().map(Into::into),
            request_headers: to_header_change(&rule.request_headers),
            response_headers: to_header_change(&rule.response_headers),
            timeout: rule.timeout.map(to_duration),
            retry: rule.retry.as_ref().map(Into::into),
            fault: rule.fault.as_ref().map(Into::into),
            mirrors: encoded(&rule.mirrors),
            cors: rule.cors.as_ref().map(Into::into),
            persistence: rule.persistence.as_ref().map(Into::into),
            hedging: rule.hedging.as_ref().map(|hedging| proto::Hedging { origin: Some((&hedging.origin).into()), percent: hedging.percent }),
        }
    }
}

impl TryFrom<proto::HttpRule> for model::HttpRule {
    type Error = Malformed;
    fn try_from(rule: proto::HttpRule) -> Result<Self, Malformed> {
        Ok(Self {
            origin: required("origin", rule.origin)?,
            name: rule.name,
            matches: list("matches", rule.matches)?,
            // The cases of a oneof are fields of the rule itself, so their faults already name them.
            action: rule.action.ok_or_else(|| Malformed::missing("action"))?.try_into()?,
            rewrite: optional("rewrite", rule.rewrite)?,
            request_headers: header_change("request_headers", rule.request_headers)?,
            response_headers: header_change("response_headers", rule.response_headers)?,
            timeout: optional_duration("timeout", rule.timeout)?,
            retry: optional("retry", rule.retry)?,
            fault: optional("fault", rule.fault)?,
            mirrors: list("mirrors", rule.mirrors)?,
            cors: optional("cors", rule.cors)?,
            persistence: optional("persistence", rule.persistence)?,
            hedging: optional("hedging", rule.hedging)?,
        })
    }
}

impl From<&model::HttpAction> for Action {
    fn from(action: &model::HttpAction) -> Self {
        match action {
            model::HttpAction::Forward(backends) => Self::Forward(proto::Forward { backends: encoded(backends) }),
            model::HttpAction::Redirect(redirect) => Self::Redirect(redirect.into()),
            model::HttpAction::Respond(response) => Self::Respond(response.into()),
        }
    }
}

impl TryFrom<Action> for model::HttpAction {
    type Error = Malformed;
    fn try_from(action: Action) -> Result<Self, Malformed> {
        Ok(match action {
            Action::Forward(forward) => Self::Forward(list("forward.backends", forward.backends)?),
            Action::Redirect(redirect) => Self::Redirect(required("redirect", Some(redirect))?),
            Action::Respond(response) => Self::Respond(required("respond", Some(response))?),
        })
    }
}

impl From<&model::Backend> for proto::Backend {
    fn from(backend: &model::Backend) -> Self {
        Self {
            origin: Some((&backend.origin).into()),
            host: backend.host.clone(),
            port: backend.port.map(Into::into),
            subset: backend.subset.clone(),
            weight: backend.weight,
            request_headers: to_header_change(&backend.request_headers),
            response_headers: to_header_change(&backend.response_headers),
            unresolved: backend.unresolved.clone(),
        }
    }
}

impl TryFrom<proto::Backend> for model::Backend {
    type Error = Malformed;
    fn try_from(backend: proto::Backend) -> Result<Self, Malformed> {
        Ok(Self {
            origin: required("origin", backend.origin)?,
            host: backend.host,
            port: optional_short("port", backend.port)?,
            subset: backend.subset,
            weight: backend.weight,
            request_headers: header_change("request_headers", backend.request_headers)?,
            response_headers: header_change("response_headers", backend.response_headers)?,
            unresolved: backend.unresolved,
        })
    }
}

impl TryFrom<proto::Hedging> for model::Hedging {
    type Error = Malformed;
    fn try_from(hedging: proto::Hedging) -> Result<Self, Malformed> {
        Ok(Self { origin: required("origin", hedging.origin)?, percent: percent("percent", hedging.percent)? })
    }
}

impl From<&model::Mirror> for proto::Mirror {
    fn from(mirror: &model::Mirror) -> Self {
        Self { backend: Some((&mirror.backend).into()), percent: mirror.percent }
    }
}

impl TryFrom<proto::Mirror> for model::Mirror {
    type Error = Malformed;
    fn try_from(mirror: proto::Mirror) -> Result<Self, Malformed> {
        Ok(Self { backend: required("backend", mirror.backend)?, percent: percent("percent", mirror.percent)? })
    }
}

impl From<&model::TcpRule> for proto::TcpRule {
    fn from(rule: &model::TcpRule) -> Self {
        Self {
            origin: Some((&rule.origin).into()),
            port: rule.port.map(Into::into),
            source_labels: rule.source_labels.clone(),
            source_namespace: rule.source_namespace.clone(),
            sni: rule.sni.clone(),
            backends: encoded(&rule.backends),
            destination_subnets: rule.destination_subnets.clone(),
        }
    }
}

impl TryFrom<proto::TcpRule> for model::TcpRule {
    type Error = Malformed;
    fn try_from(rule: proto::TcpRule) -> Result<Self, Malformed> {
        Ok(Self {
            origin: required("origin", rule.origin)?,
            port: optional_short("port", rule.port)?,
            source_labels: rule.source_labels,
            source_namespace: rule.source_namespace,
            destination_subnets: rule.destination_subnets,
            sni: rule.sni,
            backends: list("backends", rule.backends)?,
        })
    }
}

//! Peer authentication and authorization policies.

use super::field::{Malformed, choice, encoded, list, required, short};
use crate::generated::mesh as proto;
use std::collections::BTreeMap;
use taut_model::policy as model;

impl From<&model::PeerAuthentication> for proto::PeerAuthentication {
    fn from(policy: &model::PeerAuthentication) -> Self {
        Self {
            origin: Some((&policy.origin).into()),
            namespace: policy.namespace.clone(),
            selector: policy.selector.clone(),
            mode: policy.mode.map(|mode| proto::MtlsMode::from(mode).into()),
            ports: policy.ports.iter().map(|(port, mode)| ((*port).into(), proto::MtlsMode::from(*mode).into())).collect(),
            created: policy.created.clone(),
        }
    }
}

impl TryFrom<proto::PeerAuthentication> for model::PeerAuthentication {
    type Error = Malformed;
    fn try_from(policy: proto::PeerAuthentication) -> Result<Self, Malformed> {
        let port = |(port, mode): (u32, i32)| Ok((short("ports", port)?, choice::<proto::MtlsMode, _>(&format!("ports[{port}]"), mode)?));
        Ok(Self {
            origin: required("origin", policy.origin)?,
            namespace: policy.namespace,
            selector: policy.selector,
            mode: policy.mode.map(|mode| choice::<proto::MtlsMode, _>("mode", mode)).transpose()?,
            ports: policy.ports.into_iter().map(port).collect::<Result<BTreeMap<_, _>, Malformed>>()?,
            created: policy.created,
        })
    }
}

impl From<model::MtlsMode> for proto::MtlsMode {
    fn from(mode: model::MtlsMode) -> Self {
        match mode {
            model::MtlsMode::Strict => Self::Strict,
            model::MtlsMode::Permissive => Self::Permissive,
            model::MtlsMode::Disable => Self::Disable,
        }
    }
}

impl TryFrom<proto::MtlsMode> for model::MtlsMode {
    type Error = Malformed;
    fn try_from(mode: proto::MtlsMode) -> Result<Self, Malformed> {
        match mode {
            proto::MtlsMode::Unspecified => Err(Malformed::unspecified("")),
            proto::MtlsMode::Strict => Ok(Self::Strict),
            proto::MtlsMode::Permissive => Ok(Self::Permissive),
            proto::MtlsMode::Disable => Ok(Self::Disable),
        }
    }
}

impl From<&model::AuthorizationPolicy> for proto::AuthorizationPolicy {
    fn from(policy: &model::AuthorizationPolicy) -> Self {
        Self {
            origin: Some((&policy.origin).into()),
            namespace: policy.namespace.clone(),
            selector: policy.selector.clone(),
            services: policy.services.clone(),
            action: proto::AuthorizationAction::from(policy.action).into(),
            provider: policy.provider.clone(),
            dry_run: policy.dry_run,
            rules: encoded(&policy.rules),
        }
    }
}

impl TryFrom<proto::AuthorizationPolicy> for model::AuthorizationPolicy {
    type Error = Malformed;
    fn try_from(policy: proto::AuthorizationPolicy) -> Result<Self, Malformed> {
        Ok(Self {
            origin: required("origin", policy.origin)?,
            namespace: policy.namespace,
            selector: policy.selector,
            services: policy.services,
            action: choice::<proto::AuthorizationAction, _>("action", policy.action)?,
            provider: policy.provider,
            dry_run: policy.dry_run,
            rules: list("rules", policy.rules)?,
        })
    }
}

impl From<model::AuthorizationAction> for proto::AuthorizationAction {
    fn from(action: model::AuthorizationAction) -> Self {
        match action {
            model::AuthorizationAction::Allow => Self::Allow,
            model::AuthorizationAction::Deny => Self::Deny,
            model::AuthorizationAction::Audit => Self::Audit,
            model::AuthorizationAction::Custom => Self::Custom,
        }
    }
}

impl TryFrom<proto::AuthorizationAction> for model::AuthorizationAction {
    type Error = Malformed;
    fn try_from(action: proto::AuthorizationAction) -> Result<Self, Malformed> {
        match action {
            proto::AuthorizationAction::Unspecified => Err(Malformed::unspecified("")),
            proto::AuthorizationAction::Allow => Ok(Self::Allow),
            proto::AuthorizationAction::Deny => Ok(Self::Deny),
            proto::AuthorizationAction::Audit => Ok(Self::Audit),
            proto::AuthorizationAction::Custom => Ok(Self::Custom),
        }
    }
}

impl From<&model::AuthorizationRule> for proto::AuthorizationRule {
    fn from(rule: &model::AuthorizationRule) -> Self {
        Self { origin: Some((&rule.origin).into()), from: encoded(&rule.from), to: encoded(&rule.to), when: encoded(&rule.when) }
    }
}

impl TryFrom<proto::AuthorizationRule> for model::AuthorizationRule {
    type Error = Malformed;
    fn try_from(rule: proto::AuthorizationRule) -> Result<Self, Malformed> {
        Ok(Self {
            origin: required("origin", rule.origin)?,
            from: list("from", rule.from)?,
            to: list("to", rule.to)?,
            when: list("when", rule.when)?,
        })
    }
}

impl From<&model::SourceMatch> for proto::SourceMatch {
    fn from(source: &model::SourceMatch) -> Self {
        let source = source.clone();
        Self {
            principals: source.principals,
            not_principals: source.not_principals,
            namespaces: source.namespaces,
            not_namespaces: source.not_namespaces,
            service_accounts: source.service_accounts,
            not_service_accounts: source.not_service_accounts,
            ip_blocks: source.ip_blocks,
            not_ip_blocks: source.not_ip_blocks,
            remote_ip_blocks: source.remote_ip_blocks,
            not_remote_ip_blocks: source.not_remote_ip_blocks,
            trust_domains: source.trust_domains,
            not_trust_domains: source.not_trust_domains,
            request_principals: source.request_principals,
            not_request_principals: source.not_request_principals,
        }
    }
}

impl TryFrom<proto::SourceMatch> for model::SourceMatch {
    type Error = Malformed;
    fn try_from(source: proto::SourceMatch) -> Result<Self, Malformed> {
        Ok(Self {
            principals: source.principals,
            not_principals: source.not_principals,
            namespaces: source.namespaces,
            not_namespaces: source.not_namespaces,
            service_accounts: source.service_accounts,
            not_service_accounts: source.not_service_accounts,
            ip_blocks: source.ip_blocks,
            not_ip_blocks: source.not_ip_blocks,
            remote_ip_blocks: source.remote_ip_blocks,
            not_remote_ip_blocks: source.not_remote_ip_blocks,
            trust_domains: source.trust_domains,
            not_trust_domains: source.not_trust_domains,
            request_principals: source.request_principals,
            not_request_principals: source.not_request_principals,
        })
    }
}

impl From<&model::OperationMatch> for proto::OperationMatch {
    fn from(operation: &model::OperationMatch) -> Self {
        let operation = operation.clone();
        Self {
            hosts: operation.hosts,
            not_hosts: operation.not_hosts,
            ports: operation.ports.into_iter().map(Into::into).collect(),
            not_ports: operation.not_ports.into_iter().map(Into::into).collect(),
            methods: operation.methods,
            not_methods: operation.not_methods,
            paths: operation.paths,
            not_paths: operation.not_paths,
        }
    }
}

impl TryFrom<proto::OperationMatch> for model::OperationMatch {
    type Error = Malformed;
    fn try_from(operation: proto::OperationMatch) -> Result<Self, Malformed> {
        let ports = |field: &str, numbers: Vec<u32>| numbers.into_iter().map(|number| short(field, number)).collect::<Result<Vec<_>, _>>();
        Ok(Self {
            hosts: operation.hosts,
            not_hosts: operation.not_hosts,
            ports: ports("ports", operation.ports)?,
            not_ports: ports("not_ports", operation.not_ports)?,
            methods: operation.methods,
            not_methods: operation.not_methods,
            paths: operation.paths,
            not_paths: operation.not_paths,
        })
    }
}

impl From<&model::Condition> for proto::Condition {
    fn from(condition: &model::Condition) -> Self {
        Self { key: Some((&condition.key).into()), values: condition.values.clone(), not_values: condition.not_values.clone() }
    }
}

impl TryFrom<proto::Condition> for model::Condition {
    type Error = Malformed;
    fn try_from(condition: proto::Condition) -> Result<Self, Malformed> {
        Ok(Self {
            key: condition.key.ok_or_else(|| Malformed::missing("key"))?.try_into()?,
            values: condition.values,
            not_values: condition.not_values,
        })
    }
}

impl From<&model::ConditionKey> for proto::condition::Key {
    fn from(key: &model::ConditionKey) -> Self {
        use proto::ConditionAttribute as Attribute;
        let attribute = |attribute: Attribute| Self::Attribute(attribute.into());
        match key {
            model::ConditionKey::RequestHeader(name) => Self::RequestHeader(name.clone()),
            model::ConditionKey::SourceIp => attribute(Attribute::SourceIp),
            model::ConditionKey::RemoteIp => attribute(Attribute::RemoteIp),
            model::ConditionKey::SourceNamespace => attribute(Attribute::SourceNamespace),
            model::ConditionKey::SourcePrincipal => attribute(Attribute::SourcePrincipal),
            model::ConditionKey::SourceServiceAccount => attribute(Attribute::SourceServiceAccount),
            model::ConditionKey::SourceTrustDomain => attribute(Attribute::SourceTrustDomain),
            model::ConditionKey::DestinationIp => attribute(Attribute::DestinationIp),
            model::ConditionKey::DestinationPort => attribute(Attribute::DestinationPort),
            model::ConditionKey::ConnectionSni => attribute(Attribute::ConnectionSni),
            model::ConditionKey::RequestPrincipal => attribute(Attribute::RequestPrincipal),
            model::ConditionKey::RequestAudiences => attribute(Attribute::RequestAudiences),
            model::ConditionKey::RequestPresenter => attribute(Attribute::RequestPresenter),
            model::ConditionKey::RequestClaim(names) => Self::RequestClaim(proto::ClaimPath { names: names.clone() }),
        }
    }
}

impl TryFrom<proto::condition::Key> for model::ConditionKey {
    type Error = Malformed;
    fn try_from(key: proto::condition::Key) -> Result<Self, Malformed> {
        match key {
            proto::condition::Key::RequestHeader(name) => Ok(Self::RequestHeader(name)),
            proto::condition::Key::RequestClaim(path) if path.names.is_empty() => Err(Malformed::missing("names")),
            proto::condition::Key::RequestClaim(path) => Ok(Self::RequestClaim(path.names)),
            proto::condition::Key::Attribute(attribute) => choice::<proto::ConditionAttribute, _>("attribute", attribute),
        }
    }
}

impl TryFrom<proto::ConditionAttribute> for model::ConditionKey {
    type Error = Malformed;
    fn try_from(attribute: proto::ConditionAttribute) -> Result<Self, Malformed> {
        match attribute {
            proto::ConditionAttribute::Unspecified => Err(Malformed::unspecified("")),
            proto::ConditionAttribute::SourceIp => Ok(Self::SourceIp),
            proto::ConditionAttribute::RemoteIp => Ok(Self::RemoteIp),
            proto::ConditionAttribute::SourceNamespace => Ok(Self::SourceNamespace),
            proto::ConditionAttribute::SourcePrincipal => Ok(Self::SourcePrincipal),
            proto::ConditionAttribute::SourceServiceAccount => Ok(Self::SourceServiceAccount),
            proto::ConditionAttribute::SourceTrustDomain => Ok(Self::SourceTrustDomain),
            proto::ConditionAttribute::DestinationIp => Ok(Self::DestinationIp),
            proto::ConditionAttribute::DestinationPort => Ok(Self::DestinationPort),
            proto::ConditionAttribute::ConnectionSni => Ok(Self::ConnectionSni),
            proto::ConditionAttribute::RequestPrincipal => Ok(Self::RequestPrincipal),
            proto::ConditionAttribute::RequestAudiences => Ok(Self::RequestAudiences),
            proto::ConditionAttribute::RequestPresenter => Ok(Self::RequestPresenter),
        }
    }
}

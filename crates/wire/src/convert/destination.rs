//! Destinations: subsets, balancing, limits, outlier ejection, TLS.

use super::field::{Malformed, choice, encoded, list, optional, optional_duration, percent, required, required_duration, short, to_duration};
use crate::generated::mesh as proto;
use taut_model::destination as model;

impl From<&model::Destination> for proto::Destination {
    fn from(destination: &model::Destination) -> Self {
        Self {
            origin: Some((&destination.origin).into()),
            host: destination.host.clone(),
            namespace: destination.namespace.clone(),
            policy: Some((&destination.policy).into()),
            subsets: encoded(&destination.subsets),
            role: proto::Role::from(destination.role).into(),
            clients: clients(&destination.clients),
        }
    }
}

impl TryFrom<proto::Destination> for model::Destination {
    type Error = Malformed;
    fn try_from(destination: proto::Destination) -> Result<Self, Malformed> {
        Ok(Self {
            origin: required("origin", destination.origin)?,
            host: destination.host,
            namespace: destination.namespace,
            policy: required("policy", destination.policy)?,
            subsets: list("subsets", destination.subsets)?,
            role: choice::<proto::Role, _>("role", destination.role)?,
            clients: destination.clients.map_or_else(Default::default, |to| model::Clients { namespaces: to.namespaces, labels: to.labels }),
        })
    }
}

impl From<model::Role> for proto::Role {
    fn from(role: model::Role) -> Self {
        match role {
            model::Role::Rule => Self::Rule,
            model::Role::Addition => Self::Addition,
        }
    }
}

impl TryFrom<proto::Role> for model::Role {
    type Error = Malformed;
    fn try_from(role: proto::Role) -> Result<Self, Malformed> {
        match role {
            proto::Role::Rule => Ok(Self::Rule),
            proto::Role::Addition => Ok(Self::Addition),
        }
    }
}

/// `None` for all: an absent message.
fn clients(clients: &model::Clients) -> Option<proto::Clients> {
    let some = *clients != model::Clients::default();
    some.then(|| proto::Clients { namespaces: clients.namespaces.clone(), labels: clients.labels.clone() })
}

impl From<&model::Subset> for proto::Subset {
    fn from(subset: &model::Subset) -> Self {
        Self {
            origin: Some((&subset.origin).into()),
            name: subset.name.clone(),
            labels: subset.labels.clone(),
            policy: Some((&subset.policy).into()),
        }
    }
}

impl TryFrom<proto::Subset> for model::Subset {
    type Error = Malformed;
    fn try_from(subset: proto::Subset) -> Result<Self, Malformed> {
        Ok(Self { origin: required("origin", subset.origin)?, name: subset.name, labels: subset.labels, policy: required("policy", subset.policy)? })
    }
}

impl From<&model::TrafficPolicy> for proto::TrafficPolicy {
    fn from(policy: &model::TrafficPolicy) -> Self {
        let port = |(port, policy): &(u16, model::TrafficPolicy)| proto::PortPolicy { port: (*port).into(), policy: Some(policy.into()) };
        Self {
            balancer: policy.balancer.as_ref().map(Into::into),
            limits: policy.limits.as_ref().map(Into::into),
            outlier: policy.outlier.as_ref().map(Into::into),
            tls: policy.tls.as_ref().map(Into::into),
            retry_budget: policy.retry_budget.as_ref().map(Into::into),
            ports: policy.ports.iter().map(port).collect(),
            proxy_protocol: policy.proxy_protocol.map_or(proto::ProxyProtocol::Unspecified, Into::into).into(),
            locality: policy.locality.as_ref().map(Into::into),
            warm_up: policy.warm_up.as_ref().map(Into::into),
            health_check: policy.health_check.as_ref().map(Into::into),
            persistence: policy.persistence.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<proto::TrafficPolicy> for model::TrafficPolicy {
    type Error = Malformed;
    fn try_from(policy: proto::TrafficPolicy) -> Result<Self, Malformed> {
        let port = |(index, value): (usize, proto::PortPolicy)| {
            let inside = |fault: Malformed| fault.inside(&format!("ports[{index}]"));
            Ok((short("port", value.port).map_err(inside)?, required("policy", value.policy).map_err(inside)?))
        };
        Ok(Self {
            balancer: optional("balancer", policy.balancer)?,
            limits: optional("limits", policy.limits)?,
            outlier: optional("outlier", policy.outlier)?,
            tls: optional("tls", policy.tls)?,
            retry_budget: optional("retry_budget", policy.retry_budget)?,
            proxy_protocol: proxy_protocol(policy.proxy_protocol)?,
            locality: optional("locality", policy.locality)?,
            warm_up: optional("warm_up", policy.warm_up)?,
            health_check: optional("health_check", policy.health_check)?,
            persistence: optional("persistence", policy.persistence)?,
            ports: policy.ports.into_iter().enumerate().map(port).collect::<Result<_, Malformed>>()?,
        })
    }
}

impl From<model::ProxyProtocol> for proto::ProxyProtocol {
    fn from(version: model::ProxyProtocol) -> Self {
        match version {
            model::ProxyProtocol::V1 => Self::V1,
            model::ProxyProtocol::V2 => Self::V2,
        }
    }
}

fn proxy_protocol(number: i32) -> Result<Option<model::ProxyProtocol>, Malformed> {
    match proto::ProxyProtocol::try_from(number) {
        Ok(proto::ProxyProtocol::Unspecified) => Ok(None),
        Ok(proto::ProxyProtocol::V1) => Ok(Some(model::ProxyProtocol::V1)),
        Ok(proto::ProxyProtocol::V2) => Ok(Some(model::ProxyProtocol::V2)),
        Err(_) => Err(Malformed::new("proxy_protocol", format!("unknown value {number}"))),
    }
}

impl From<&model::Balancer> for proto::Balancer {
    fn from(balancer: &model::Balancer) -> Self {
        use proto::SimpleBalancer as Simple;
        use proto::balancer::By;
        let simple = |simple: Simple| By::Simple(simple.into());
        let by = match balancer {
            model::Balancer::LeastRequest => simple(Simple::LeastRequest),
            model::Balancer::PeakEwma => simple(Simple::PeakEwma),
            model::Balancer::LoadAware => simple(Simple::LoadAware),
            model::Balancer::RoundRobin => simple(Simple::RoundRobin),
            model::Balancer::Random => simple(Simple::Random),
            model::Balancer::RingHash { key, min_size } => By::RingHash(proto::RingHash { key: Some(key.into()), min_size: *min_size }),
            model::Balancer::Maglev { key, table_size } => By::Maglev(proto::Maglev { key: Some(key.into()), table_size: *table_size }),
        };
        Self { by: Some(by) }
    }
}

impl TryFrom<proto::Balancer> for model::Balancer {
    type Error = Malformed;
    fn try_from(balancer: proto::Balancer) -> Result<Self, Malformed> {
        use proto::balancer::By;
        match balancer.by {
            None => Err(Malformed::unspecified("")),
            Some(By::Simple(simple)) => choice::<proto::SimpleBalancer, _>("simple", simple),
            Some(By::RingHash(ring)) => Ok(Self::RingHash { key: required("ring_hash.key", ring.key)?, min_size: ring.min_size }),
            Some(By::Maglev(maglev)) => Ok(Self::Maglev { key: required("maglev.key", maglev.key)?, table_size: maglev.table_size }),
        }
    }
}

impl TryFrom<proto::SimpleBalancer> for model::Balancer {
    type Error = Malformed;
    fn try_from(simple: proto::SimpleBalancer) -> Result<Self, Malformed> {
        match simple {
            proto::SimpleBalancer::Unspecified => Err(Malformed::unspecified("")),
            proto::SimpleBalancer::LeastRequest => Ok(Self::LeastRequest),
            proto::SimpleBalancer::PeakEwma => Ok(Self::PeakEwma),
            proto::SimpleBalancer::LoadAware => Ok(Self::LoadAware),
            proto::SimpleBalancer::RoundRobin => Ok(Self::RoundRobin),
            proto::SimpleBalancer::Random => Ok(Self::Random),
        }
    }
}

impl From<&model::HashKey> for proto::HashKey {
    fn from(key: &model::HashKey) -> Self {
        use proto::hash_key::Of;
        let of = match key.clone() {
            model::HashKey::Header(name) => Of::Header(name),
            model::HashKey::Query(name) => Of::Query(name),
            model::HashKey::SourceIp => Of::SourceIp(()),
            model::HashKey::Cookie { name, path, ttl, attributes } => {
                let attributes = attributes.into_iter().map(|(name, value)| proto::CookieAttribute { name, value }).collect();
                Of::Cookie(proto::Cookie { name, path, ttl: ttl.map(to_duration), attributes })
            }
        };
        Self { of: Some(of) }
    }
}

impl TryFrom<proto::HashKey> for model::HashKey {
    type Error = Malformed;
    fn try_from(key: proto::HashKey) -> Result<Self, Malformed> {
        use proto::hash_key::Of;
        match key.of {
            None => Err(Malformed::unspecified("")),
            Some(Of::Header(name)) => Ok(Self::Header(name)),
            Some(Of::Query(name)) => Ok(Self::Query(name)),
            Some(Of::SourceIp(())) => Ok(Self::SourceIp),
            Some(Of::Cookie(cookie)) => Ok(Self::Cookie {
                name: cookie.name,
                path: cookie.path,
                ttl: optional_duration("cookie.ttl", cookie.ttl)?,
                attributes: cookie.attributes.into_iter().map(|attribute| (attribute.name, attribute.value)).collect(),
            }),
        }
    }
}

impl From<&model::Limits> for proto::Limits {
    fn from(limits: &model::Limits) -> Self {
        Self {
            max_connections: limits.max_connections,
            max_pending: limits.max_pending,
            max_requests: limits.max_requests,
            max_retries: limits.max_retries,
            max_requests_per_connection: limits.max_requests_per_connection,
            connect_timeout: limits.connect_timeout.map(to_duration),
            idle_timeout: limits.idle_timeout.map(to_duration),
            tcp_idle_timeout: limits.tcp_idle_timeout.map(to_duration),
            max_streams: limits.max_streams,
            max_connection_age: limits.max_connection_age.map(to_duration),
            keepalive: limits.keepalive.as_ref().map(|probes| proto::Keepalive {
                time: probes.time.map(to_duration),
                interval: probes.interval.map(to_duration),
                probes: probes.probes,
            }),
        }
    }
}

impl TryFrom<proto::Limits> for model::Limits {
    type Error = Malformed;
    fn try_from(limits: proto::Limits) -> Result<Self, Malformed> {
        Ok(Self {
            max_connections: limits.max_connections,
            max_pending: limits.max_pending,
            max_requests: limits.max_requests,
            max_retries: limits.max_retries,
            max_requests_per_connection: limits.max_requests_per_connection,
            connect_timeout: optional_duration("connect_timeout", limits.connect_timeout)?,
            idle_timeout: optional_duration("idle_timeout", limits.idle_timeout)?,
            tcp_idle_timeout: optional_duration("tcp_idle_timeout", limits.tcp_idle_timeout)?,
            max_streams: limits.max_streams,
            max_connection_age: optional_duration("max_connection_age", limits.max_connection_age)?,
            keepalive: optional("keepalive", limits.keepalive)?,
        })
    }
}

impl TryFrom<proto::Keepalive> for model::Keepalive {
    type Error = Malformed;
    fn try_from(probes: proto::Keepalive) -> Result<Self, Malformed> {
        Ok(Self { time: optional_duration("time", probes.time)?, interval: optional_duration("interval", probes.interval)?, probes: probes.probes })
    }
}

impl From<&model::OutlierPolicy> for proto::OutlierPolicy {
    fn from(outlier: &model::OutlierPolicy) -> Self {
        Self {
            consecutive_5xx: outlier.consecutive_5xx,
            consecutive_gateway_errors: outlier.consecutive_gateway_errors,
            interval: Some(to_duration(outlier.interval)),
            base_ejection: Some(to_duration(outlier.base_ejection)),
            max_ejection_percent: outlier.max_ejection_percent,
            min_health_percent: outlier.min_health_percent,
            local_origin_failures: outlier.local_origin_failures,
            error_statuses: outlier.error_statuses.iter().map(|status| (*status).into()).collect(),
        }
    }
}

impl TryFrom<proto::OutlierPolicy> for model::OutlierPolicy {
    type Error = Malformed;
    fn try_from(outlier: proto::OutlierPolicy) -> Result<Self, Malformed> {
        Ok(Self {
            consecutive_5xx: outlier.consecutive_5xx,
            consecutive_gateway_errors: outlier.consecutive_gateway_errors,
            interval: required_duration("interval", outlier.interval)?,
            base_ejection: required_duration("base_ejection", outlier.base_ejection)?,
            max_ejection_percent: outlier.max_ejection_percent,
            min_health_percent: outlier.min_health_percent,
            local_origin_failures: outlier.local_origin_failures,
            error_statuses: outlier.error_statuses.into_iter().map(|status| short("error_statuses", status)).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&model::ClientTls> for proto::ClientTls {
    fn from(tls: &model::ClientTls) -> Self {
        use proto::client_tls::Mode;
        let mode = match tls.clone() {
            model::ClientTls::Disable => Mode::Disable(()),
            model::ClientTls::Simple(model::Origination { sni, subject_alt_names, roots, certificate }) => Mode::Simple(proto::SimpleTls {
                sni,
                subject_alt_names,
                roots,
                certificate: certificate.map(|files| proto::CertificateFiles { chain: files.chain, key: files.key }),
            }),
            model::ClientTls::Mesh => Mode::Mesh(()),
        };
        Self { mode: Some(mode) }
    }
}

impl TryFrom<proto::ClientTls> for model::ClientTls {
    type Error = Malformed;
    fn try_from(tls: proto::ClientTls) -> Result<Self, Malformed> {
        use proto::client_tls::Mode;
        match tls.mode {
            None => Err(Malformed::unspecified("")),
            Some(Mode::Disable(())) => Ok(Self::Disable),
            Some(Mode::Simple(simple)) => Ok(Self::Simple(model::Origination {
                sni: simple.sni,
                subject_alt_names: simple.subject_alt_names,
                roots: simple.roots,
                certificate: simple.certificate.map(|files| model::CertificateFiles { chain: files.chain, key: files.key }),
            })),
            Some(Mode::Mesh(())) => Ok(Self::Mesh),
        }
    }
}

impl From<&model::RetryBudget> for proto::RetryBudget {
    fn from(budget: &model::RetryBudget) -> Self {
        let rate = |rate: &model::RetryRate| proto::RetryRate { count: rate.count, interval: Some(to_duration(rate.interval)) };
        Self {
            percent: budget.percent,
            min_concurrency: budget.min_concurrency,
            interval: Some(to_duration(budget.interval)),
            min_rate: budget.min_rate.as_ref().map(rate),
        }
    }
}

impl TryFrom<proto::RetryBudget> for model::RetryBudget {
    type Error = Malformed;
    fn try_from(budget: proto::RetryBudget) -> Result<Self, Malformed> {
        Ok(Self {
            percent: percent("percent", budget.percent)?,
            min_concurrency: budget.min_concurrency,
            interval: optional_duration("interval", budget.interval)?.unwrap_or_default(),
            min_rate: optional("min_rate", budget.min_rate)?,
        })
    }
}

impl TryFrom<proto::RetryRate> for model::RetryRate {
    type Error = Malformed;
    fn try_from(rate: proto::RetryRate) -> Result<Self, Malformed> {
        let interval = required_duration("interval", rate.interval)?;
        if interval.is_zero() {
            return Err(Malformed::new("interval", "is zero"));
        }
        Ok(Self { count: rate.count, interval })
    }
}

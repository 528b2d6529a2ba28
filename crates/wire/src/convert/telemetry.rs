//! Telemetry, and the providers that it names.

use super::field::{Malformed, choice, duration, encoded, list, percent, required, required_duration, short, to_duration};
use super::headers::{pairs, to_pairs};
use crate::generated::mesh as proto;
use std::collections::BTreeMap;
use taut_model::expression::Expression;
use taut_model::telemetry as model;

impl From<&model::Provider> for proto::Provider {
    fn from(provider: &model::Provider) -> Self {
        use proto::provider::Kind;
        let kind = match &provider.kind {
            model::ProviderKind::Prometheus => Kind::Prometheus(()),
            model::ProviderKind::File => Kind::File(()),
            model::ProviderKind::Otlp(collector) => Kind::Otlp(collector.into()),
            model::ProviderKind::Authorizer(authorizer) => Kind::Authorizer(authorizer.into()),
        };
        Self { name: provider.name.clone(), kind: Some(kind) }
    }
}

impl TryFrom<proto::Provider> for model::Provider {
    type Error = Malformed;
    fn try_from(provider: proto::Provider) -> Result<Self, Malformed> {
        use proto::provider::Kind;
        let kind = match provider.kind.ok_or_else(|| Malformed::missing("kind"))? {
            Kind::Prometheus(()) => model::ProviderKind::Prometheus,
            Kind::File(()) => model::ProviderKind::File,
            Kind::Otlp(collector) => model::ProviderKind::Otlp(required("otlp", Some(collector))?),
            Kind::Authorizer(authorizer) => model::ProviderKind::Authorizer(required("authorizer", Some(authorizer))?),
        };
        Ok(Self { name: provider.name, kind })
    }
}

impl From<&model::Collector> for proto::Collector {
    fn from(collector: &model::Collector) -> Self {
        use proto::collector::Protocol;
        let protocol = match &collector.protocol {
            model::OtlpProtocol::Grpc { headers: pairs } => Protocol::Grpc(proto::OtlpGrpc { headers: to_pairs(pairs) }),
            model::OtlpProtocol::Http { base, headers: pairs } => Protocol::Http(proto::OtlpHttp { base: base.clone(), headers: to_pairs(pairs) }),
        };
        Self {
            host: collector.host.clone(),
            port: collector.port.into(),
            timeout: Some(to_duration(collector.timeout)),
            metrics_every: Some(to_duration(collector.metrics_every)),
            protocol: Some(protocol),
        }
    }
}

impl TryFrom<proto::Collector> for model::Collector {
    type Error = Malformed;
    fn try_from(collector: proto::Collector) -> Result<Self, Malformed> {
        use proto::collector::Protocol;
        let protocol = match collector.protocol.ok_or_else(|| Malformed::missing("protocol"))? {
            Protocol::Grpc(grpc) => model::OtlpProtocol::Grpc { headers: pairs(grpc.headers) },
            Protocol::Http(http) => model::OtlpProtocol::Http { base: http.base, headers: pairs(http.headers) },
        };
        let metrics_every = required_duration("metrics_every", collector.metrics_every)?;
        if metrics_every.is_zero() {
            return Err(Malformed::new("metrics_every", "must be longer than zero"));
        }
        Ok(Self {
            host: collector.host,
            port: short("port", collector.port)?,
            protocol,
            timeout: required_duration("timeout", collector.timeout)?,
            metrics_every,
        })
    }
}

impl From<&model::DefaultProviders> for proto::DefaultProviders {
    fn from(providers: &model::DefaultProviders) -> Self {
        Self { tracing: providers.tracing.clone(), logging: providers.logging.clone(), metrics: providers.metrics.clone() }
    }
}

impl From<proto::DefaultProviders> for model::DefaultProviders {
    fn from(providers: proto::DefaultProviders) -> Self {
        Self { tracing: providers.tracing, logging: providers.logging, metrics: providers.metrics }
    }
}

impl From<&model::TracingDefaults> for proto::TracingDefaults {
    fn from(tracing: &model::TracingDefaults) -> Self {
        Self { sampling: tracing.sampling, failures: tracing.failures, slower_than: tracing.slower_than.map(to_duration) }
    }
}

impl TryFrom<proto::TracingDefaults> for model::TracingDefaults {
    type Error = Malformed;
    fn try_from(tracing: proto::TracingDefaults) -> Result<Self, Malformed> {
        Ok(Self {
            sampling: percent("sampling", tracing.sampling)?,
            failures: tracing.failures,
            slower_than: tracing.slower_than.map(|value| duration("slower_than", value)).transpose()?,
        })
    }
}

impl From<&model::Telemetry> for proto::Telemetry {
    fn from(telemetry: &model::Telemetry) -> Self {
        Self {
            origin: Some((&telemetry.origin).into()),
            namespace: telemetry.namespace.clone(),
            selector: telemetry.selector.clone(),
            created: telemetry.created.clone(),
            tracing: encoded(&telemetry.tracing),
            logging: encoded(&telemetry.logging),
            metrics: encoded(&telemetry.metrics),
        }
    }
}

impl TryFrom<proto::Telemetry> for model::Telemetry {
    type Error = Malformed;
    fn try_from(telemetry: proto::Telemetry) -> Result<Self, Malformed> {
        Ok(Self {
            origin: required("origin", telemetry.origin)?,
            namespace: telemetry.namespace,
            selector: telemetry.selector,
            created: telemetry.created,
            tracing: list("tracing", telemetry.tracing)?,
            logging: list("logging", telemetry.logging)?,
            metrics: list("metrics", telemetry.metrics)?,
        })
    }
}

impl From<model::Mode> for proto::TelemetryMode {
    fn from(mode: model::Mode) -> Self {
        match mode {
            model::Mode::Both => Self::ClientAndServer,
            model::Mode::Client => Self::Client,
            model::Mode::Server => Self::Server,
        }
    }
}

impl TryFrom<proto::TelemetryMode> for model::Mode {
    type Error = Malformed;
    fn try_from(mode: proto::TelemetryMode) -> Result<Self, Malformed> {
        match mode {
            proto::TelemetryMode::Unspecified => Err(Malformed::unspecified("")),
            proto::TelemetryMode::ClientAndServer => Ok(Self::Both),
            proto::TelemetryMode::Client => Ok(Self::Client),
            proto::TelemetryMode::Server => Ok(Self::Server),
        }
    }
}

fn mode(number: i32) -> Result<model::Mode, Malformed> {
    choice::<proto::TelemetryMode, _>("mode", number)
}

impl From<&model::Tracing> for proto::Tracing {
    fn from(tracing: &model::Tracing) -> Self {
        Self {
            origin: Some((&tracing.origin).into()),
            mode: proto::TelemetryMode::from(tracing.mode).into(),
            provider: tracing.provider.clone(),
            sampling: tracing.sampling,
            disabled: tracing.disabled,
            tags: tracing.tags.iter().map(|(name, tag)| (name.clone(), tag.into())).collect(),
        }
    }
}

impl TryFrom<proto::Tracing> for model::Tracing {
    type Error = Malformed;
    fn try_from(tracing: proto::Tracing) -> Result<Self, Malformed> {
        Ok(Self {
            origin: required("origin", tracing.origin)?,
            mode: mode(tracing.mode)?,
            provider: tracing.provider,
            sampling: tracing.sampling.map(|number| percent("sampling", number)).transpose()?,
            disabled: tracing.disabled,
            tags: named("tags", tracing.tags)?,
        })
    }
}

/// The values of a map.
fn named<P, M: TryFrom<P, Error = Malformed>>(field: &str, values: BTreeMap<String, P>) -> Result<BTreeMap<String, M>, Malformed> {
    let one = |(name, value): (String, P)| {
        let value = M::try_from(value).map_err(|fault: Malformed| fault.inside(&format!("{field}[{name:?}]")))?;
        Ok((name, value))
    };
    values.into_iter().map(one).collect()
}

impl From<&model::Tag> for proto::Tag {
    fn from(tag: &model::Tag) -> Self {
        use proto::tag::From as Of;
        let named = |name: &String, default: &String| proto::NamedTag { name: name.clone(), default: default.clone() };
        let from = match tag {
            model::Tag::Literal(text) => Of::Literal(text.clone()),
            model::Tag::Environment { name, default } => Of::Environment(named(name, default)),
            model::Tag::Header { name, default } => Of::Header(named(name, default)),
        };
        Self { from: Some(from) }
    }
}

impl TryFrom<proto::Tag> for model::Tag {
    type Error = Malformed;
    fn try_from(tag: proto::Tag) -> Result<Self, Malformed> {
        use proto::tag::From as Of;
        Ok(match tag.from.ok_or_else(|| Malformed::missing("from"))? {
            Of::Literal(text) => Self::Literal(text),
            Of::Environment(proto::NamedTag { name, default }) => Self::Environment { name, default },
            Of::Header(proto::NamedTag { name, default }) => Self::Header { name, default },
        })
    }
}

impl From<&model::Logging> for proto::Logging {
    fn from(logging: &model::Logging) -> Self {
        Self {
            origin: Some((&logging.origin).into()),
            mode: proto::TelemetryMode::from(logging.mode).into(),
            providers: logging.providers.clone(),
            disabled: logging.disabled,
            filter: logging.filter.as_ref().map(|filter| filter.text().to_owned()),
        }
    }
}

impl TryFrom<proto::Logging> for model::Logging {
    type Error = Malformed;
    fn try_from(logging: proto::Logging) -> Result<Self, Malformed> {
        let filter = logging.filter.map(|text| Expression::parse(&text).map_err(|because| Malformed::new("filter", because)));
        Ok(Self {
            origin: required("origin", logging.origin)?,
            mode: mode(logging.mode)?,
            providers: logging.providers,
            disabled: logging.disabled,
            filter: filter.transpose()?,
        })
    }
}

impl From<&model::Metrics> for proto::Metrics {
    fn from(metrics: &model::Metrics) -> Self {
        Self { origin: Some((&metrics.origin).into()), providers: metrics.providers.clone(), overrides: encoded(&metrics.overrides) }
    }
}

impl TryFrom<proto::Metrics> for model::Metrics {
    type Error = Malformed;
    fn try_from(metrics: proto::Metrics) -> Result<Self, Malformed> {
        Ok(Self { origin: required("origin", metrics.origin)?, providers: metrics.providers, overrides: list("overrides", metrics.overrides)? })
    }
}

impl From<&model::MetricOverride> for proto::MetricOverride {
    fn from(one: &model::MetricOverride) -> Self {
        Self {
            mode: proto::TelemetryMode::from(one.mode).into(),
            metric: one.metric.clone(),
            disabled: one.disabled,
            tags: one.tags.iter().map(|(name, change)| (name.clone(), change.into())).collect(),
        }
    }
}

impl TryFrom<proto::MetricOverride> for model::MetricOverride {
    type Error = Malformed;
    fn try_from(one: proto::MetricOverride) -> Result<Self, Malformed> {
        Ok(Self { mode: mode(one.mode)?, metric: one.metric, disabled: one.disabled, tags: named("tags", one.tags)? })
    }
}

impl From<&model::TagChange> for proto::TagChange {
    fn from(change: &model::TagChange) -> Self {
        use proto::tag_change::Change;
        let change = match change {
            model::TagChange::Remove => Change::Remove(()),
            model::TagChange::Set(value) => Change::Set(value.clone()),
        };
        Self { change: Some(change) }
    }
}

impl TryFrom<proto::TagChange> for model::TagChange {
    type Error = Malformed;
    fn try_from(change: proto::TagChange) -> Result<Self, Malformed> {
        use proto::tag_change::Change;
        Ok(match change.change.ok_or_else(|| Malformed::missing("change"))? {
            Change::Remove(()) => Self::Remove,
            Change::Set(value) => Self::Set(value),
        })
    }
}

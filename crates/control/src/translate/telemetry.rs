//! Telemetry (telemetry.istio.io), and what MeshSettings says of providers and of tracing.

use super::authorizer::{self, AuthorizerSpec};
use super::istio::api::WorkloadSelector;
use super::meaning::Meaning;
use super::reader::Reader;
use super::values;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use taut_model::expression::Expression;
use taut_model::telemetry::{
    Collector, DefaultProviders, Logging, MetricOverride, Metrics, Mode, OtlpProtocol, Provider, ProviderKind, Tag, TagChange, Telemetry, Tracing,
    TracingDefaults,
};
use taut_observe::names::{self, label};
use taut_plan::telemetry::BUILT_IN;

/// Of a route: percent of the traces that begin with its requests.
const SAMPLING: &str = "tautline.dev/trace-sampling";
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
const METRICS_EVERY: Duration = Duration::from_secs(30);
const SHORTEST_METRICS_EVERY: Duration = Duration::from_secs(1);

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    selector: WorkloadSelector,
    tracing: Vec<TracingSpec>,
    access_logging: Vec<LoggingSpec>,
    metrics: Vec<MetricsSpec>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MatchSpec {
    mode: Option<String>,
    metric: Option<String>,
}

#[derive(Default, Deserialize)]
struct Named {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TracingSpec {
    r#match: MatchSpec,
    providers: Vec<Named>,
    random_sampling_percentage: Option<f64>,
    disable_span_reporting: Option<bool>,
    custom_tags: BTreeMap<String, TagSpec>,
    enable_istio_tags: Option<bool>,
    disable_context_propagation: Option<bool>,
    use_request_id_for_trace_sampling: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TagSpec {
    literal: Option<LiteralSpec>,
    environment: Option<NamedTagSpec>,
    header: Option<NamedTagSpec>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LiteralSpec {
    value: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NamedTagSpec {
    name: String,
    default_value: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LoggingSpec {
    r#match: MatchSpec,
    providers: Vec<Named>,
    disabled: Option<bool>,
    filter: Option<FilterSpec>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FilterSpec {
    expression: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MetricsSpec {
    providers: Vec<Named>,
    overrides: Vec<OverrideSpec>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OverrideSpec {
    r#match: MatchSpec,
    disabled: Option<bool>,
    tag_overrides: BTreeMap<String, TagOverrideSpec>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TagOverrideSpec {
    operation: Option<String>,
    value: Option<String>,
}

pub fn telemetry(reader: &mut Reader<'_>) -> Meaning {
    let spec: Spec = reader.spec(&[]);
    let tracing = spec.tracing.into_iter().enumerate().map(|(index, one)| tracing(reader, index, one)).collect();
    let logging = spec.access_logging.into_iter().enumerate().map(|(index, one)| logging(reader, index, one)).collect();
    let metrics = spec.metrics.into_iter().enumerate().map(|(index, one)| metrics(reader, index, one)).collect();
    Meaning::Telemetry(Telemetry {
        origin: reader.origin(""),
        namespace: reader.namespace().to_owned(),
        selector: spec.selector.match_labels,
        created: reader.created(),
        tracing,
        logging,
        metrics,
    })
}

/// What a route's annotation says of the traces that begin with its requests.
pub fn sampling(reader: &mut Reader<'_>) -> Option<f64> {
    let written = reader.annotation(SAMPLING)?;
    let percent = written.parse::<f64>().ok().filter(|percent| (0.0..=100.0).contains(percent));
    let wrong = || format!("{written:?} is not a percentage: a number from 0 to 100");
    reader.taken(&format!("metadata.annotations.{SAMPLING}"), percent.ok_or_else(wrong))
}

fn mode(reader: &mut Reader<'_>, at: &str, written: &MatchSpec) -> Mode {
    match written.mode.as_deref() {
        None | Some("CLIENT_AND_SERVER") => Mode::Both,
        Some("CLIENT") => Mode::Client,
        Some("SERVER") => Mode::Server,
        Some(other) => {
            reader.invalid(&format!("{at}.match.mode"), format_args!("{other:?} is not one of CLIENT_AND_SERVER, CLIENT and SERVER"));
            Mode::Both
        }
    }
}

fn names(providers: Vec<Named>) -> Vec<String> {
    providers.into_iter().map(|named| named.name).collect()
}

fn tracing(reader: &mut Reader<'_>, index: usize, written: TracingSpec) -> Tracing {
    let at = format!("spec.tracing[{index}]");
    if written.r#match.metric.is_some() {
        reader.unsupported(&format!("{at}.match.metric"));
    }
    let switches = [
        ("enableIstioTags", written.enable_istio_tags, "spans carry OpenTelemetry's attributes: leave it out, or add customTags"),
        ("disableContextPropagation", written.disable_context_propagation, "use disableSpanReporting"),
        ("useRequestIdForTraceSampling", written.use_request_id_for_trace_sampling, "traces are sampled by their own id: leave it out"),
    ];
    for (field, _, instead) in switches.into_iter().filter(|(_, on, _)| *on == Some(true)) {
        reader.unsupported_value(&format!("{at}.{field}"), true, instead);
    }
    let mut providers = names(written.providers);
    if providers.len() > 1 {
        reader.unsupported_value(&format!("{at}.providers"), "more than one", "name the one that gets the spans, as in Istio");
    }
    let tags = written.custom_tags.into_iter().filter_map(|(name, written)| {
        let tag = tag(reader, &format!("{at}.customTags.{name}"), written)?;
        Some((name, tag))
    });
    let tags = tags.collect();
    Tracing {
        origin: reader.origin(&at),
        mode: mode(reader, &at, &written.r#match),
        provider: providers.pop(),
        sampling: written.random_sampling_percentage.map(|number| reader.percent(&format!("{at}.randomSamplingPercentage"), number)),
        disabled: written.disable_span_reporting,
        tags,
    }
}

fn tag(reader: &mut Reader<'_>, at: &str, written: TagSpec) -> Option<Tag> {
    match (written.literal, written.environment, written.header) {
        (Some(literal), None, None) => Some(Tag::Literal(literal.value)),
        (None, Some(named), None) => Some(Tag::Environment { name: named.name, default: named.default_value }),
        (None, None, Some(named)) => {
            let name = reader.taken(&format!("{at}.header.name"), values::header_name(&named.name))?;
            Some(Tag::Header { name, default: named.default_value })
        }
        _ => {
            reader.invalid(at, "needs one of literal, environment and header");
            None
        }
    }
}

fn logging(reader: &mut Reader<'_>, index: usize, written: LoggingSpec) -> Logging {
    let at = format!("spec.accessLogging[{index}]");
    let filter = written.filter.and_then(|filter| {
        let parsed = Expression::parse(&filter.expression);
        parsed.map_err(|why| reader.unsupported_value(&format!("{at}.filter.expression"), why, "write what docs/traces.md lists")).ok()
    });
    Logging {
        origin: reader.origin(&at),
        mode: mode(reader, &at, &written.r#match),
        providers: names(written.providers),
        disabled: written.disabled.unwrap_or_default(),
        filter,
    }
}

fn metrics(reader: &mut Reader<'_>, index: usize, written: MetricsSpec) -> Metrics {
    let at = format!("spec.metrics[{index}]");
    let overrides = written.overrides.into_iter().enumerate().map(|(index, one)| metric_override(reader, &format!("{at}.overrides[{index}]"), one));
    let overrides = overrides.collect();
    Metrics { origin: reader.origin(&at), providers: names(written.providers), overrides }
}

/// Istio's names for the metrics that we have.
const METRICS: [(&str, &str); 8] = [
    ("REQUEST_COUNT", names::REQUESTS),
    ("REQUEST_DURATION", names::REQUEST_DURATION),
    ("REQUEST_SIZE", names::REQUEST_BYTES),
    ("RESPONSE_SIZE", names::RESPONSE_BYTES),
    ("TCP_OPENED_CONNECTIONS", names::TCP_OPENED),
    ("TCP_CLOSED_CONNECTIONS", names::TCP_CLOSED),
    ("TCP_SENT_BYTES", names::TCP_SENT),
    ("TCP_RECEIVED_BYTES", names::TCP_RECEIVED),
];

fn metric_override(reader: &mut Reader<'_>, at: &str, written: OverrideSpec) -> MetricOverride {
    let metric = match written.r#match.metric.as_deref() {
        None | Some("ALL_METRICS") => None,
        Some(name) => {
            let found = METRICS.iter().find(|(known, _)| *known == name).map(|(_, metric)| (*metric).to_owned());
            if found.is_none() {
                reader.unsupported_value(&format!("{at}.match.metric"), name, "proxies have no such metric");
            }
            found
        }
    };
    let tags = written.tag_overrides.into_iter().filter_map(|(name, written)| {
        let change = tag_change(reader, &format!("{at}.tagOverrides.{name}"), &name, written)?;
        Some((name, change))
    });
    let tags = tags.collect();
    MetricOverride { mode: mode(reader, at, &written.r#match), metric, disabled: written.disabled, tags }
}

fn tag_change(reader: &mut Reader<'_>, at: &str, name: &str, written: TagOverrideSpec) -> Option<TagChange> {
    let is_label =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !name.starts_with(|c: char| c.is_ascii_digit());
    if !is_label || name == label::LE {
        reader.invalid(at, format_args!("{name:?} cannot be changed: a label is letters, digits and _, and {:?} is the histograms' own", label::LE));
        return None;
    }
    match (written.operation.as_deref(), written.value) {
        (Some("REMOVE"), None) => Some(TagChange::Remove),
        (None | Some("UPSERT"), Some(value)) => match quoted(&value) {
            Some(text) => Some(TagChange::Set(text.to_owned())),
            None => {
                reader.unsupported_value(&format!("{at}.value"), format_args!("{value:?}"), "use one text for all series, in quotes: \"'text'\"");
                None
            }
        },
        (operation, _) => {
            reader.invalid(at, format_args!("{:?} is neither REMOVE nor UPSERT with a value", operation.unwrap_or_default()));
            None
        }
    }
}

/// The text of a CEL literal without escapes.
fn quoted(expression: &str) -> Option<&str> {
    let expression = expression.trim();
    let inner = |quote: char| expression.strip_prefix(quote)?.strip_suffix(quote).filter(|text| !text.contains([quote, '\\']));
    inner('\'').or_else(|| inner('"'))
}

// ------------------------------------------------------------------------------------------------ MeshSettings

/// As Istio's `meshConfig.extensionProviders`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProviderSpec {
    name: String,
    opentelemetry: Option<OtlpSpec>,
    envoy_otel_als: Option<OtlpSpec>,
    envoy_file_access_log: Option<FileSpec>,
    prometheus: Option<PrometheusSpec>,
    envoy_ext_authz_grpc: Option<AuthorizerSpec>,
    envoy_ext_authz_http: Option<AuthorizerSpec>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OtlpSpec {
    service: String,
    port: Option<i64>,
    http: Option<HttpSpec>,
    grpc: Option<GrpcSpec>,
    metrics_interval: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HttpSpec {
    path: Option<String>,
    timeout: Option<String>,
    headers: Vec<HeaderSpec>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GrpcSpec {
    timeout: Option<String>,
    initial_metadata: Vec<HeaderSpec>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HeaderSpec {
    name: String,
    value: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FileSpec {
    path: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PrometheusSpec {}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DefaultProvidersSpec {
    tracing: Vec<String>,
    access_logging: Vec<String>,
    metrics: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TracingDefaultsSpec {
    random_sampling_percentage: Option<f64>,
    failures: Option<String>,
    slower_than: Option<String>,
}

pub fn providers(reader: &mut Reader<'_>, written: Vec<ProviderSpec>) -> Vec<Provider> {
    let mut names = BTreeSet::new();
    let mut all = Vec::new();
    for (index, one) in written.into_iter().enumerate() {
        let at = format!("spec.extensionProviders[{index}]");
        let built_in = BUILT_IN.iter().any(|(name, _)| *name == one.name);
        if one.name.is_empty() || !names.insert(one.name.clone()) {
            reader.invalid(&format!("{at}.name"), format_args!("{:?} is not a name of its own", one.name));
        }
        let asked = one.envoy_ext_authz_grpc.map(|written| (true, written)).or(one.envoy_ext_authz_http.map(|written| (false, written)));
        let kind = match (one.opentelemetry.or(one.envoy_otel_als), one.envoy_file_access_log, one.prometheus, asked) {
            (None, None, None, Some((true, grpc))) => {
                authorizer::grpc(reader, &format!("{at}.envoyExtAuthzGrpc"), grpc).map(ProviderKind::Authorizer)
            }
            (None, None, None, Some((false, http))) => {
                authorizer::http(reader, &format!("{at}.envoyExtAuthzHttp"), http).map(ProviderKind::Authorizer)
            }
            (Some(otlp), None, None, None) => collector(reader, &at, otlp).map(ProviderKind::Otlp),
            (None, Some(file), None, None) => {
                if let Some(path) = file.path.filter(|path| path != "/dev/stdout") {
                    reader.unsupported_value(&format!("{at}.envoyFileAccessLog.path"), path, "give the file to each proxy: --access-log-file");
                }
                Some(ProviderKind::File)
            }
            (None, None, Some(_), None) => Some(ProviderKind::Prometheus),
            _ => {
                reader.invalid(
                    &at,
                    "needs one of opentelemetry, envoyOtelAls, envoyFileAccessLog, prometheus, envoyExtAuthzGrpc and envoyExtAuthzHttp",
                );
                None
            }
        };
        let same = |kind: &ProviderKind| BUILT_IN.iter().any(|(name, built_in)| *name == one.name && built_in == kind);
        if built_in && !kind.as_ref().is_some_and(same) {
            reader.invalid(&format!("{at}.name"), format_args!("{:?} is built in", one.name));
        }
        all.extend(kind.map(|kind| Provider { name: one.name, kind }));
    }
    all
}

fn collector(reader: &mut Reader<'_>, at: &str, written: OtlpSpec) -> Option<Collector> {
    let at = format!("{at}.opentelemetry");
    // Istio writes `namespace/host` where a host alone could be of several namespaces.
    let host = written.service.rsplit_once('/').map_or(written.service.as_str(), |(_, host)| host).to_owned();
    if host.is_empty() || host.contains([' ', ':']) && host.parse::<std::net::Ipv6Addr>().is_err() {
        reader.invalid(&format!("{at}.service"), format_args!("{host:?} is neither a name nor an address; the port stands beside it"));
    }
    if written.http.is_some() && written.grpc.is_some() {
        reader.invalid(&at, "has both http and grpc");
    }
    if written.port.is_none() {
        reader.invalid(&format!("{at}.port"), "is missing: OTLP over gRPC is at 4317, over HTTP at 4318");
    }
    let every = reader.positive_duration(&format!("{at}.metricsInterval"), written.metrics_interval.as_deref()).unwrap_or(METRICS_EVERY);
    if every < SHORTEST_METRICS_EVERY {
        reader.invalid(&format!("{at}.metricsInterval"), "is shorter than a second");
    }
    let (protocol, timeout) = match (written.http, written.grpc) {
        (Some(http), _) => {
            let base = http.path.map(|path| base(reader, &format!("{at}.http.path"), &path)).unwrap_or_default();
            let headers = headers(reader, &format!("{at}.http.headers"), http.headers);
            (OtlpProtocol::Http { base, headers }, reader.positive_duration(&format!("{at}.http.timeout"), http.timeout.as_deref()))
        }
        (None, grpc) => {
            let grpc = grpc.unwrap_or_default();
            let headers = headers(reader, &format!("{at}.grpc.initialMetadata"), grpc.initial_metadata);
            (OtlpProtocol::Grpc { headers }, reader.positive_duration(&format!("{at}.grpc.timeout"), grpc.timeout.as_deref()))
        }
    };
    let port = reader.port(&format!("{at}.port"), written.port)?;
    Some(Collector { host, port, protocol, timeout: timeout.unwrap_or(EXPORT_TIMEOUT), metrics_every: every })
}

/// Istio's path is that of traces; what stands before `/v1/traces` is the same for all signals.
fn base(reader: &mut Reader<'_>, at: &str, path: &str) -> String {
    let base = path.strip_suffix("/v1/traces").unwrap_or(path).trim_end_matches('/');
    let printable = path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'));
    if !path.starts_with('/') || !printable {
        reader.invalid(at, format_args!("{path:?} is not a path that begins with /"));
    }
    base.to_owned()
}

fn headers(reader: &mut Reader<'_>, at: &str, written: Vec<HeaderSpec>) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (index, header) in written.into_iter().enumerate() {
        let name = reader.taken(&format!("{at}[{index}].name"), values::header_name(&header.name));
        let value = reader.taken(&format!("{at}[{index}].value"), values::header_value(&header.value));
        all.extend(name.zip(value.map(|()| header.value)));
    }
    all
}

pub fn default_providers(reader: &mut Reader<'_>, written: DefaultProvidersSpec, providers: &[Provider]) -> DefaultProviders {
    let mut check = |field: &str, names: &[String], takes: fn(&ProviderKind) -> bool| {
        for name in names {
            let mut found = BUILT_IN.iter().map(|(known, kind)| (*known, kind)).chain(providers.iter().map(|one| (one.name.as_str(), &one.kind)));
            if !found.any(|(known, kind)| known == name && takes(kind)) {
                reader.invalid(&format!("spec.defaultProviders.{field}"), format_args!("{name:?} is no provider that can take that"));
            }
        }
    };
    check("tracing", &written.tracing, |kind| matches!(kind, ProviderKind::Otlp(_)));
    check("accessLogging", &written.access_logging, |kind| !matches!(kind, ProviderKind::Prometheus | ProviderKind::Authorizer(_)));
    check("metrics", &written.metrics, |kind| !matches!(kind, ProviderKind::File | ProviderKind::Authorizer(_)));
    if written.tracing.len() > 1 {
        reader.unsupported_value("spec.defaultProviders.tracing", "more than one", "name the one that gets the spans");
    }
    DefaultProviders { tracing: written.tracing.into_iter().next(), logging: written.access_logging, metrics: written.metrics }
}

pub fn tracing_defaults(reader: &mut Reader<'_>, written: TracingDefaultsSpec) -> TracingDefaults {
    let defaults = TracingDefaults::default();
    let failures = match written.failures.as_deref() {
        None => defaults.failures,
        Some("Report") => true,
        Some("Ignore") => false,
        Some(other) => {
            reader.invalid("spec.tracing.failures", format_args!("{other:?} is neither Report nor Ignore"));
            defaults.failures
        }
    };
    let sampling = written.random_sampling_percentage.map(|number| reader.percent("spec.tracing.randomSamplingPercentage", number));
    TracingDefaults {
        sampling: sampling.unwrap_or(defaults.sampling),
        failures,
        slower_than: reader.positive_duration("spec.tracing.slowerThan", written.slower_than.as_deref()),
    }
}

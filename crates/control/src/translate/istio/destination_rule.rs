//! DestinationRule -> Destination: balancing, limits, ejection, TLS and subsets of one host.

use super::api;
use super::locality::{locality, warm_up};
use crate::translate::meaning::Meaning;
use crate::translate::reader::{Reader, code};
use crate::translate::values;
use std::time::Duration;
use taut_model::destination::{
    Balancer, CertificateFiles, ClientTls, Clients, Destination, HashKey, Keepalive, Limits, Origination, OutlierPolicy, ProxyProtocol, RetryBudget,
    Role, Subset, TrafficPolicy,
};

/// Asks for a balancer that Istio's API has no name for.
const BALANCER_ANNOTATION: &str = "tautline.dev/balancer";

/// Istio's default.
const LOCAL_ORIGIN_FAILURES: u32 = 5;
const RING_SIZE: u64 = 1024;
const LARGEST_RING: u64 = 8 << 20;
const MAGLEV_TABLE: u64 = 65_537;
const LARGEST_MAGLEV_TABLE: u64 = 5_000_011;

pub fn destination_rule(reader: &mut Reader<'_>) -> Meaning {
    let spec: api::DestinationRule = reader.spec(&[]);
    if spec.host.is_empty() {
        reader.invalid("spec.host", "is missing: write the service that this is about");
    } else if spec.host.trim_start_matches('*').contains('*') || (spec.host.starts_with('*') && !matches!(spec.host.get(1..2), None | Some("" | ".")))
    {
        reader.invalid("spec.host", format_args!("{:?} is not a pattern: use * or *.suffix", spec.host));
    }
    let mut policy = traffic_policy(reader, "spec.trafficPolicy", spec.traffic_policy);
    annotated_balancer(reader, &mut policy);
    let subsets: Vec<Subset> = spec.subsets.into_iter().enumerate().map(|(index, written)| subset(reader, index, written)).collect();
    for (index, subset) in subsets.iter().enumerate() {
        if subsets[..index].iter().any(|earlier| earlier.name == subset.name) {
            reader.invalid(&format!("spec.subsets[{index}].name"), format_args!("{:?} is defined twice", subset.name));
        }
    }
    Meaning::Destination(Destination {
        origin: reader.origin(""),
        host: reader.host(&spec.host),
        namespace: reader.namespace().to_owned(),
        role: Role::Rule,
        clients: Clients { namespaces: exported(reader.namespace(), spec.export_to), labels: spec.workload_selector.match_labels },
        policy,
        subsets,
    })
}

/// The namespaces that a rule is exported to; none for all. `~` is exported to nobody, and no namespace is called that.
fn exported(own: &str, written: Vec<String>) -> Vec<String> {
    match written.iter().any(|namespace| namespace == "*") {
        true => Vec::new(),
        false => written.into_iter().map(|namespace| if namespace == "." { own.to_owned() } else { namespace }).collect(),
    }
}

fn subset(reader: &mut Reader<'_>, index: usize, written: api::Subset) -> Subset {
    let at = format!("spec.subsets[{index}]");
    if written.name.is_empty() {
        reader.invalid(&format!("{at}.name"), "is missing");
    }
    Subset {
        origin: reader.origin(&at),
        name: written.name,
        labels: written.labels,
        policy: traffic_policy(reader, &format!("{at}.trafficPolicy"), written.traffic_policy),
    }
}

fn annotated_balancer(reader: &mut Reader<'_>, policy: &mut TrafficPolicy) {
    let at = "metadata.annotations.tautline.dev/balancer";
    match reader.annotation(BALANCER_ANNOTATION) {
        None => {}
        Some("PEAK_EWMA" | "LOAD_AWARE") if policy.balancer.is_some() => {
            reader.invalid(at, "stands beside spec.trafficPolicy.loadBalancer: choose one");
        }
        Some("PEAK_EWMA") => policy.balancer = Some(Balancer::PeakEwma),
        Some("LOAD_AWARE") => policy.balancer = Some(Balancer::LoadAware),
        Some(other) => reader.unsupported_value(at, format_args!("{other:?}"), "use PEAK_EWMA or LOAD_AWARE, or spec.trafficPolicy.loadBalancer"),
    }
}

fn traffic_policy(reader: &mut Reader<'_>, at: &str, written: api::TrafficPolicy) -> TrafficPolicy {
    let mut ports: Vec<(u16, TrafficPolicy)> = Vec::new();
    for (index, port) in written.port_level_settings.into_iter().enumerate() {
        let at = format!("{at}.portLevelSettings[{index}]");
        if port.port.number.is_none() {
            reader.invalid(&format!("{at}.port.number"), "is missing: say which port this is about");
        }
        let number = reader.port(&format!("{at}.port.number"), port.port.number);
        let judged = port.outlier_detection.is_some();
        let policy = TrafficPolicy {
            limits: limits(reader, &at, port.connection_pool),
            outlier: outlier(reader, &at, port.outlier_detection),
            tls: tls(reader, &at, port.tls),
            ..load_balancer(reader, &at, port.load_balancer, judged)
        };
        match number {
            Some(number) if ports.iter().any(|(other, _)| *other == number) => {
                reader.invalid(&format!("{at}.port.number"), format_args!("port {number} has settings already"));
            }
            Some(number) => ports.push((number, policy)),
            None => {}
        }
    }
    let judged = written.outlier_detection.is_some();
    TrafficPolicy {
        limits: limits(reader, at, written.connection_pool),
        outlier: outlier(reader, at, written.outlier_detection),
        tls: tls(reader, at, written.tls),
        retry_budget: retry_budget(reader, at, written.retry_budget),
        proxy_protocol: proxy_protocol(reader, at, written.proxy_protocol),
        ports,
        ..load_balancer(reader, at, written.load_balancer, judged)
    }
}

fn load_balancer(reader: &mut Reader<'_>, at: &str, written: Option<api::LoadBalancer>, judged: bool) -> TrafficPolicy {
    let Some(mut written) = written else { return TrafficPolicy::default() };
    let at = format!("{at}.loadBalancer");
    let locality = locality(reader, &at, written.locality_lb_setting.take(), judged);
    let warm_up = warm_up(reader, &at, written.warmup.take(), written.warmup_duration_secs.take().as_deref());
    if warm_up.is_some() && written.consistent_hash.is_some() {
        reader.warn(code::NO_EFFECT, &format!("{at}.warmup"), "does nothing beside consistentHash: a key's endpoint does not depend on its age");
    }
    TrafficPolicy { balancer: balancer(reader, &at, written), locality, warm_up, ..TrafficPolicy::default() }
}

fn balancer(reader: &mut Reader<'_>, at: &str, written: api::LoadBalancer) -> Option<Balancer> {
    match (written.simple.as_deref(), written.consistent_hash) {
        (Some(_), Some(_)) => {
            reader.invalid(at, "names both simple and consistentHash: choose one");
            None
        }
        (None, Some(hash)) => consistent_hash(reader, &format!("{at}.consistentHash"), hash),
        (None | Some("UNSPECIFIED"), None) => None,
        (Some("LEAST_REQUEST" | "LEAST_CONN"), None) => Some(Balancer::LeastRequest),
        (Some("ROUND_ROBIN"), None) => Some(Balancer::RoundRobin),
        (Some("RANDOM"), None) => Some(Balancer::Random),
        (Some(other), None) => {
            reader.unsupported_value(&format!("{at}.simple"), other, "use LEAST_REQUEST, ROUND_ROBIN or RANDOM");
            None
        }
    }
}

fn consistent_hash(reader: &mut Reader<'_>, at: &str, hash: api::ConsistentHash) -> Option<Balancer> {
    let ring_size = match (&hash.ring_hash, hash.minimum_ring_size) {
        (Some(_), Some(_)) => {
            reader.invalid(&format!("{at}.minimumRingSize"), "stands beside ringHash, which replaces it");
            None
        }
        (Some(ring), None) => size(reader, &format!("{at}.ringHash.minimumRingSize"), ring.minimum_ring_size, LARGEST_RING),
        (None, deprecated) => size(reader, &format!("{at}.minimumRingSize"), deprecated, LARGEST_RING),
    };
    let maglev = hash.maglev.as_ref().map(|maglev| {
        if hash.ring_hash.is_some() || hash.minimum_ring_size.is_some() {
            reader.invalid(at, "names both ringHash and maglev: choose one");
        }
        let path = format!("{at}.maglev.tableSize");
        let table_size = size(reader, &path, maglev.table_size, LARGEST_MAGLEV_TABLE).unwrap_or(MAGLEV_TABLE);
        if !is_prime(table_size) {
            reader.invalid(&path, format_args!("{table_size} is not a prime number"));
        }
        table_size
    });
    let key = hash_key(reader, at, hash)?;
    Some(match maglev {
        Some(table_size) => Balancer::Maglev { key, table_size },
        None => Balancer::RingHash { key, min_size: ring_size.unwrap_or(RING_SIZE) },
    })
}

fn hash_key(reader: &mut Reader<'_>, at: &str, hash: api::ConsistentHash) -> Option<HashKey> {
    let mut keys = Vec::new();
    if let Some(name) = hash.http_header_name {
        keys.extend(reader.taken(&format!("{at}.httpHeaderName"), values::header_name(&name)).map(HashKey::Header));
    }
    if let Some(cookie) = hash.http_cookie {
        if cookie.name.is_empty() {
            reader.invalid(&format!("{at}.httpCookie.name"), "is missing");
        }
        let ttl = reader.duration(&format!("{at}.httpCookie.ttl"), cookie.ttl.as_deref());
        let mut attributes = Vec::new();
        for (index, api::CookieAttribute { name, value }) in cookie.attributes.into_iter().enumerate() {
            let at = format!("{at}.httpCookie.attributes[{index}]");
            reader.taken(&format!("{at}.name"), values::cookie_name(&name));
            reader.taken(&format!("{at}.value"), values::cookie_text(&value));
            attributes.push((name, value));
        }
        keys.push(HashKey::Cookie { name: cookie.name, path: cookie.path.unwrap_or_default(), ttl, attributes });
    }
    if hash.use_source_ip == Some(true) {
        keys.push(HashKey::SourceIp);
    }
    keys.extend(hash.http_query_parameter_name.map(HashKey::Query));
    if keys.len() != 1 {
        reader.invalid(at, "must name one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName");
    }
    keys.pop()
}

fn size(reader: &mut Reader<'_>, at: &str, written: Option<i64>, largest: u64) -> Option<u64> {
    let written = written?;
    let size = u64::try_from(written).ok().filter(|size| (1..=largest).contains(size));
    reader.taken(at, size.ok_or_else(|| format!("{written} is not a size: a number from 1 to {largest}")))
}

/// By trial division; the largest table allowed needs some 2,200 steps.
fn is_prime(number: u64) -> bool {
    number > 1 && (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| !number.is_multiple_of(divisor))
}

fn limits(reader: &mut Reader<'_>, at: &str, written: Option<api::ConnectionPool>) -> Option<Limits> {
    let written = written?;
    let at = format!("{at}.connectionPool");
    // Istio reads 0 as its default, which is no limit.
    let mut limit = |field: &str, number| reader.count(&format!("{at}.{field}"), number).filter(|limit| *limit > 0);
    let mut limits = Limits {
        max_connections: limit("tcp.maxConnections", written.tcp.max_connections),
        max_pending: limit("http.http1MaxPendingRequests", written.http.http1_max_pending_requests),
        max_requests: limit("http.http2MaxRequests", written.http.http2_max_requests),
        max_retries: limit("http.maxRetries", written.http.max_retries),
        max_requests_per_connection: limit("http.maxRequestsPerConnection", written.http.max_requests_per_connection),
        max_streams: limit("http.maxConcurrentStreams", written.http.max_concurrent_streams),
        ..Limits::default()
    };
    limits.connect_timeout = reader.positive_duration(&format!("{at}.tcp.connectTimeout"), written.tcp.connect_timeout.as_deref());
    let tcp_idle = reader.duration(&format!("{at}.tcp.idleTimeout"), written.tcp.idle_timeout.as_deref());
    let http_idle = reader.duration(&format!("{at}.http.idleTimeout"), written.http.idle_timeout.as_deref());
    // As in Istio, what is said of TCP holds for HTTP, too, unless HTTP has its own.
    (limits.tcp_idle_timeout, limits.idle_timeout) = (tcp_idle, http_idle.or(tcp_idle));
    limits.max_connection_age = reader.positive_duration(&format!("{at}.tcp.maxConnectionDuration"), written.tcp.max_connection_duration.as_deref());
    limits.keepalive = written.tcp.tcp_keepalive.map(|probes| keepalive(reader, &format!("{at}.tcp.tcpKeepalive"), &probes));
    if let Some(other) = written.http.h2_upgrade_policy.as_deref().filter(|policy| !matches!(*policy, "DEFAULT" | "DO_NOT_UPGRADE")) {
        reader.unsupported_value(&format!("{at}.http.h2UpgradePolicy"), other, "remove it: each request keeps the version its client chose");
    }
    Some(limits)
}

fn keepalive(reader: &mut Reader<'_>, at: &str, written: &api::Keepalive) -> Keepalive {
    Keepalive {
        time: reader.positive_duration(&format!("{at}.time"), written.time.as_deref()),
        interval: reader.positive_duration(&format!("{at}.interval"), written.interval.as_deref()),
        probes: reader.count(&format!("{at}.probes"), written.probes).filter(|probes| *probes > 0),
    }
}

fn outlier(reader: &mut Reader<'_>, at: &str, written: Option<api::OutlierDetection>) -> Option<OutlierPolicy> {
    let written = written?;
    let at = format!("{at}.outlierDetection");
    let split = written.split_external_local_origin_errors == Some(true);
    if !split && written.consecutive_local_origin_failures.is_some() {
        let why = "is looked at with splitExternalLocalOriginErrors: true only";
        reader.warn(code::NO_EFFECT, &format!("{at}.consecutiveLocalOriginFailures"), why);
    }
    let local_origin = reader.count(&format!("{at}.consecutiveLocalOriginFailures"), written.consecutive_local_origin_failures);
    let codes = written.outlier_detection_http_error_codes.iter().enumerate();
    let error_statuses = codes.filter_map(|(index, code)| error_status(reader, &format!("{at}.outlierDetectionHttpErrorCodes[{index}]"), *code));
    let error_statuses = error_statuses.collect();
    let default = OutlierPolicy::default();
    let mut percent = |field: &str, number: Option<i64>, default: u32| {
        let at = format!("{at}.{field}");
        let number = reader.count(&at, number).unwrap_or(default);
        reader.percent(&at, f64::from(number));
        number
    };
    let max_ejection_percent = percent("maxEjectionPercent", written.max_ejection_percent, default.max_ejection_percent);
    let min_health_percent = percent("minHealthPercent", written.min_health_percent, default.min_health_percent);
    Some(OutlierPolicy {
        consecutive_5xx: reader.count(&format!("{at}.consecutive5xxErrors"), written.consecutive_5xx_errors).unwrap_or(default.consecutive_5xx),
        consecutive_gateway_errors: reader
            .count(&format!("{at}.consecutiveGatewayErrors"), written.consecutive_gateway_errors)
            .unwrap_or(default.consecutive_gateway_errors),
        interval: positive_or(reader, &format!("{at}.interval"), written.interval.as_deref(), default.interval),
        base_ejection: positive_or(reader, &format!("{at}.baseEjectionTime"), written.base_ejection_time.as_deref(), default.base_ejection),
        max_ejection_percent,
        min_health_percent,
        local_origin_failures: split.then_some(local_origin.unwrap_or(LOCAL_ORIGIN_FAILURES)),
        error_statuses,
    })
}

fn error_status(reader: &mut Reader<'_>, at: &str, code: i64) -> Option<u16> {
    let status = u16::try_from(code).ok().filter(|status| (100..600).contains(status));
    reader.taken(at, status.ok_or_else(|| format!("{code} is not a status: a number from 100 to 599")))
}

fn positive_or(reader: &mut Reader<'_>, at: &str, written: Option<&str>, default: Duration) -> Duration {
    reader.positive_duration(at, written).unwrap_or(default)
}

pub(super) fn tls(reader: &mut Reader<'_>, at: &str, written: Option<api::ClientTls>) -> Option<ClientTls> {
    let mut written = written?;
    let at = format!("{at}.tls");
    if written.insecure_skip_verify == Some(true) {
        reader.unsupported(&format!("{at}.insecureSkipVerify"));
    }
    let mode = written.mode.take().unwrap_or_else(|| "DISABLE".to_owned());
    let mode = mode.as_str();
    let originates = matches!(mode, "SIMPLE" | "MUTUAL");
    if !originates && (written.sni.is_some() || !written.subject_alt_names.is_empty() || written.ca_certificates.is_some()) {
        let instead = "use them with SIMPLE or MUTUAL only";
        reader.unsupported_value(&at, format_args!("sni, subjectAltNames or caCertificates with mode {mode}"), instead);
    }
    if mode != "MUTUAL" && (written.client_certificate.is_some() || written.private_key.is_some()) {
        reader.invalid(&at, format_args!("names a client certificate with mode {mode}: use MUTUAL"));
    }
    match mode {
        "DISABLE" => Some(ClientTls::Disable),
        "ISTIO_MUTUAL" => Some(ClientTls::Mesh),
        "SIMPLE" | "MUTUAL" => Some(ClientTls::Simple(origination(reader, &at, written, mode == "MUTUAL"))),
        other => {
            reader.unsupported_value(&format!("{at}.mode"), other, "use ISTIO_MUTUAL, SIMPLE, MUTUAL or DISABLE");
            None
        }
    }
}

/// Files are those of the client's proxy.
fn origination(reader: &mut Reader<'_>, at: &str, written: api::ClientTls, mutual: bool) -> Origination {
    let mut file = |field: &str, path: Option<String>| {
        let relative = path.as_ref().is_some_and(|path| !path.starts_with('/'));
        if relative {
            reader.invalid(&format!("{at}.{field}"), "is not the absolute path of a file beside the client's proxy");
        }
        path
    };
    let roots = file("caCertificates", written.ca_certificates);
    let (chain, key) = (file("clientCertificate", written.client_certificate), file("privateKey", written.private_key));
    let certificate = chain.zip(key).map(|(chain, key)| CertificateFiles { chain, key });
    if mutual && certificate.is_none() {
        reader.invalid(at, "MUTUAL needs clientCertificate and privateKey: files beside the client's proxy");
    }
    Origination { sni: written.sni, subject_alt_names: written.subject_alt_names, roots, certificate }
}

/// Istio's default version is 1.
fn proxy_protocol(reader: &mut Reader<'_>, at: &str, written: Option<api::ProxyProtocol>) -> Option<ProxyProtocol> {
    match written?.version.as_deref() {
        None | Some("V1") => Some(ProxyProtocol::V1),
        Some("V2") => Some(ProxyProtocol::V2),
        Some(other) => {
            reader.unsupported_value(&format!("{at}.proxyProtocol.version"), other, "use V1 or V2");
            None
        }
    }
}

fn retry_budget(reader: &mut Reader<'_>, at: &str, written: Option<api::RetryBudget>) -> Option<RetryBudget> {
    let written = written?;
    let at = format!("{at}.retryBudget");
    let interval = reader.duration(&format!("{at}.budgetInterval"), written.budget_interval.as_deref());
    let default = RetryBudget::default();
    Some(RetryBudget {
        percent: reader.percent(&format!("{at}.percent"), written.percent.unwrap_or(default.percent)),
        min_concurrency: reader.count(&format!("{at}.minRetryConcurrency"), written.min_retry_concurrency).unwrap_or(default.min_concurrency),
        interval: interval.unwrap_or_default(),
        min_rate: None,
    })
}

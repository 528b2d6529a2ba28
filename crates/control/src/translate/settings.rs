//! MeshSettings: the one object about the whole mesh. Its providers are read in `telemetry`.

use super::Settings;
use super::federation;
use super::hedging::MOST_PERCENT;
use super::istio::api::WorkloadSelector;
use super::meaning::Meaning;
use super::reader::{Reader, code};
use super::telemetry;
use super::values;
use serde::Deserialize;
use serde_json::Value;
use taut_model::destination::{Balancer, RetryBudget};
use taut_model::object::Object;
use taut_model::origin::Origin;
use taut_model::settings::{self, MeshSettings, Outside};

/// The one name that counts.
const NAME: &str = "mesh";
const HEDGING: f64 = 5.0;
/// Below this compression saves nothing that anybody notices.
const MIN_LENGTH: u64 = 1024;
/// Media types that are text and long, as others compress them.
const CONTENT_TYPES: [&str; 8] = [
    "text/*",
    "application/json",
    "application/problem+json",
    "application/javascript",
    "application/xml",
    "application/xhtml+xml",
    "application/wasm",
    "image/svg+xml",
];

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    trust_domain: Option<String>,
    trust_domain_aliases: Vec<String>,
    overload: Overload,
    balancing: Balancing,
    hedging: Hedging,
    extension_providers: Vec<telemetry::ProviderSpec>,
    default_providers: telemetry::DefaultProvidersSpec,
    tracing: telemetry::TracingDefaultsSpec,
    retries: Retries,
    compression: Compression,
    egress: Egress,
    federation: Vec<federation::Written>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Overload {
    protection: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Balancing {
    default: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Hedging {
    mode: Option<String>,
    most_percent: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Retries {
    budget: Budget,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Budget {
    percent: Option<f64>,
    min_concurrency: Option<i64>,
    interval: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Compression {
    mode: Option<String>,
    selector: WorkloadSelector,
    content_types: Option<Vec<String>>,
    minimum_length: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Egress {
    mode: Option<String>,
}

pub fn mesh_settings(reader: &mut Reader<'_>, known: &Settings) -> Meaning {
    let spec: Spec = reader.spec(&[]);
    if reader.object().name != NAME {
        return Meaning::Idle(format!("the mesh's settings are those of the object named {NAME:?}"));
    }
    let running = known.trust_domain.as_str();
    let aliases = federation::aliases(reader, spec.trust_domain_aliases, &spec.federation);
    if let Some(other) = spec.trust_domain.filter(|named| !running.is_empty() && named != running) {
        match aliases.iter().any(|alias| alias.trust_domain == other) {
            true => reader.warn(code::NO_EFFECT, "spec.trustDomain", format_args!("{other:?} is an alias now: this mesh is {running:?}")),
            false => {
                let help = "give it to `taut up --trust-domain`, after both names were aliases (spec.trustDomainAliases)";
                reader.unsupported_value("spec.trustDomain", format_args!("{other:?} (this mesh is {running:?})"), help);
            }
        }
    }
    let defaults = MeshSettings::default();
    let on = |text: &str| (text == "Enabled").then_some(true).or((text == "Disabled").then_some(false));
    let protection = chosen(reader, "spec.overload.protection", spec.overload.protection, on, "Enabled and Disabled");
    let balancer = |text: &str| match text {
        "LoadAware" => Some(Balancer::LoadAware),
        "LeastRequest" => Some(Balancer::LeastRequest),
        "PeakEwma" => Some(Balancer::PeakEwma),
        _ => None,
    };
    let balancer = chosen(reader, "spec.balancing.default", spec.balancing.default, balancer, "LoadAware, LeastRequest and PeakEwma");
    let providers = telemetry::providers(reader, spec.extension_providers);
    let federation = federation::federation(reader, known, spec.federation);
    let settings = MeshSettings {
        origin: reader.origin(""),
        protection: protection.unwrap_or(defaults.protection),
        balancer: balancer.unwrap_or(defaults.balancer),
        hedging: hedging(reader, spec.hedging),
        retry_budget: retry_budget(reader, &spec.retries.budget),
        compression: compression(reader, spec.compression),
        outside: outside(reader, spec.egress.mode),
        default_providers: telemetry::default_providers(reader, spec.default_providers, &providers),
        providers,
        tracing: telemetry::tracing_defaults(reader, spec.tracing),
        aliases,
    };
    Meaning::MeshSettings(settings, federation)
}

/// In place of MeshSettings that are not accepted: the defaults, and programs reach nothing outside the mesh where that may have been meant.
pub fn closed(object: &Object) -> Option<MeshSettings> {
    let written = &object.value["spec"]["egress"];
    let meant = object.name == NAME && !written.is_null() && written["mode"] != "AllowAny";
    let origin = Origin { path: "(not accepted, so nothing outside the mesh is reached)".to_owned(), ..object.origin("") };
    meant.then(|| MeshSettings { origin, outside: Outside::Refused, ..MeshSettings::default() })
}

/// One of the words that a field takes; `None` if nothing is written.
fn chosen<T>(reader: &mut Reader<'_>, at: &str, written: Option<String>, read: impl Fn(&str) -> Option<T>, words: &str) -> Option<T> {
    let written = written?;
    reader.taken(at, read(&written).ok_or_else(|| format!("{written:?} is not one of {words}")))
}

fn outside(reader: &mut Reader<'_>, mode: Option<String>) -> Outside {
    let read = |text: &str| match text {
        "AllowAny" => Some(Outside::Reachable),
        "RegistryOnly" => Some(Outside::Refused),
        _ => None,
    };
    chosen(reader, "spec.egress.mode", mode, read, "AllowAny and RegistryOnly").unwrap_or_default()
}

fn retry_budget(reader: &mut Reader<'_>, written: &Budget) -> RetryBudget {
    let (at, default) = ("spec.retries.budget", RetryBudget::default());
    RetryBudget {
        percent: reader.percent(&format!("{at}.percent"), written.percent.unwrap_or(default.percent)),
        min_concurrency: reader.count(&format!("{at}.minConcurrency"), written.min_concurrency).unwrap_or(default.min_concurrency),
        interval: reader.duration(&format!("{at}.interval"), written.interval.as_deref()).unwrap_or(default.interval),
        min_rate: None,
    }
}

fn compression(reader: &mut Reader<'_>, written: Compression) -> Option<settings::Compression> {
    let on = |text: &str| (text == "Enabled").then_some(true).or((text == "Disabled").then_some(false));
    let enabled = chosen(reader, "spec.compression.mode", written.mode, on, "Enabled and Disabled").unwrap_or(false);
    let content_types = written.content_types.unwrap_or_else(|| CONTENT_TYPES.map(str::to_owned).into());
    for (index, content_type) in content_types.iter().enumerate() {
        let at = format!("spec.compression.contentTypes[{index}]");
        let parts = content_type.split_once('/').map(|(kind, rest)| (values::token(kind).is_ok(), rest == "*" || values::token(rest).is_ok()));
        if parts != Some((true, true)) || content_type.starts_with('*') {
            reader.invalid(&at, format_args!("{content_type:?} is not a media type such as application/json or text/*"));
        } else if content_type.starts_with("application/grpc") || content_type.eq_ignore_ascii_case("text/event-stream") {
            reader.unsupported_value(
                &at,
                format_args!("compressing {content_type}"),
                "remove it: gRPC compresses its messages itself, and events must not wait",
            );
        }
    }
    let min_length = written.minimum_length.and_then(|written| reader.taken("spec.compression.minimumLength", values::bytes(&written)));
    enabled.then(|| settings::Compression {
        selector: written.selector.match_labels,
        content_types: content_types.iter().map(|one| one.to_ascii_lowercase()).collect(),
        min_length: min_length.unwrap_or(MIN_LENGTH),
    })
}

fn hedging(reader: &mut Reader<'_>, written: Hedging) -> Option<f64> {
    let percent = written.most_percent.unwrap_or(HEDGING);
    if !(percent > 0.0 && percent <= MOST_PERCENT) {
        reader.invalid("spec.hedging.mostPercent", format_args!("{percent} is not above 0 and at most {MOST_PERCENT}"));
    }
    let read = |text: &str| (text == "SafeRequests").then_some(true).or((text == "Disabled").then_some(false));
    chosen(reader, "spec.hedging.mode", written.mode, read, "SafeRequests and Disabled").filter(|on| *on).map(|_| percent)
}

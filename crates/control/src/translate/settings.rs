//! MeshSettings: the one object about the whole mesh. Its providers are read in `telemetry`.

use super::Settings;
use super::meaning::Meaning;
use super::reader::Reader;
use super::telemetry;
use serde::Deserialize;
use taut_model::destination::Balancer;
use taut_model::settings::MeshSettings;

/// The one name that counts.
const NAME: &str = "mesh";
/// Second copies cost what first ones do.
const MOST_HEDGING: f64 = 20.0;
const HEDGING: f64 = 5.0;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    trust_domain: Option<String>,
    overload: Overload,
    balancing: Balancing,
    hedging: Hedging,
    extension_providers: Vec<telemetry::ProviderSpec>,
    default_providers: telemetry::DefaultProvidersSpec,
    tracing: telemetry::TracingDefaultsSpec,
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

pub fn mesh_settings(reader: &mut Reader<'_>, known: &Settings) -> Meaning {
    let spec: Spec = reader.spec(&[]);
    if reader.object().name != NAME {
        return Meaning::Idle(format!("the mesh's settings are those of the object named {NAME:?}"));
    }
    let running = known.trust_domain.as_str();
    if let Some(other) = spec.trust_domain.filter(|named| !running.is_empty() && named != running) {
        let help = "give it to `taut up --trust-domain` before the first start";
        reader.unsupported_value("spec.trustDomain", format_args!("{other:?} (this mesh is {running:?})"), help);
    }
    let defaults = MeshSettings::default();
    let protection = match spec.overload.protection.as_deref() {
        None => defaults.protection,
        Some("Enabled") => true,
        Some("Disabled") => false,
        Some(other) => {
            reader.invalid("spec.overload.protection", format_args!("{other:?} is neither Enabled nor Disabled"));
            defaults.protection
        }
    };
    let balancer = match spec.balancing.default.as_deref() {
        None => defaults.balancer,
        Some("LoadAware") => Balancer::LoadAware,
        Some("LeastRequest") => Balancer::LeastRequest,
        Some("PeakEwma") => Balancer::PeakEwma,
        Some(other) => {
            reader.invalid("spec.balancing.default", format_args!("{other:?} is not one of LoadAware, LeastRequest and PeakEwma"));
            defaults.balancer
        }
    };
    let providers = telemetry::providers(reader, spec.extension_providers);
    Meaning::MeshSettings(MeshSettings {
        origin: reader.origin(""),
        protection,
        balancer,
        hedging: hedging(reader, spec.hedging),
        default_providers: telemetry::default_providers(reader, spec.default_providers, &providers),
        providers,
        tracing: telemetry::tracing_defaults(reader, spec.tracing),
    })
}

fn hedging(reader: &mut Reader<'_>, written: Hedging) -> Option<f64> {
    let percent = written.most_percent.unwrap_or(HEDGING);
    if !(percent > 0.0 && percent <= MOST_HEDGING) {
        reader.invalid("spec.hedging.mostPercent", format_args!("{percent} is not above 0 and at most {MOST_HEDGING}"));
    }
    match written.mode.as_deref() {
        None | Some("Disabled") => None,
        Some("SafeRequests") => Some(percent),
        Some(other) => {
            reader.invalid("spec.hedging.mode", format_args!("{other:?} is neither SafeRequests nor Disabled"));
            None
        }
    }
}

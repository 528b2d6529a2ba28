//! Which Telemetry holds for a workload, and what of it.

use super::*;
use crate::telemetry::{FileLog, sampled};
use std::time::Duration;
use taut_model::expression::Expression;
use taut_model::settings::MeshSettings;
use taut_model::telemetry::*;

fn collector(host: &str) -> Provider {
    let protocol = OtlpProtocol::Grpc { headers: vec![] };
    let (timeout, metrics_every) = (Duration::from_secs(10), Duration::from_secs(30));
    let collector = Collector { host: host.into(), port: 4317, protocol, timeout, metrics_every };
    Provider { name: host.into(), kind: ProviderKind::Otlp(collector) }
}

fn object(namespace: &str, name: &str, selector: &[(&str, &str)]) -> Telemetry {
    let origin = Origin { object: taut_model::origin::ObjectRef::new("Telemetry", namespace, name), ..Origin::default() };
    let selector = selector.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let (tracing, logging, metrics) = Default::default();
    Telemetry { origin, namespace: namespace.into(), selector, created: name.into(), tracing, logging, metrics }
}

fn tracing(mode: Mode, provider: Option<&str>, sampling: Option<f64>) -> Tracing {
    Tracing { origin: Origin::default(), mode, provider: provider.map(Into::into), sampling, disabled: None, tags: BTreeMap::new() }
}

fn logging(providers: &[&str], disabled: bool, filter: Option<&str>) -> Logging {
    let filter = filter.map(|text| Expression::parse(text).unwrap());
    let providers = providers.iter().map(|name| (*name).to_owned()).collect();
    Logging { origin: Origin::default(), mode: Mode::Both, providers, disabled, filter }
}

fn plan(settings: MeshSettings, objects: Vec<Telemetry>) -> Plan {
    let mut snapshot = bookstore();
    snapshot.settings.insert("mesh".into(), Arc::new(settings));
    snapshot.telemetry = objects.into_iter().map(|object| (object.origin.object.to_string(), Arc::new(object))).collect();
    Plan::compile(&snapshot)
}

fn settings() -> MeshSettings {
    let default_providers = DefaultProviders { tracing: Some("wide".into()), ..DefaultProviders::default() };
    MeshSettings { providers: vec![collector("wide"), collector("narrow")], default_providers, ..MeshSettings::default() }
}

#[test]
fn the_narrower_object_says_more_and_what_it_leaves_out_stays() {
    let namespace = bookstore().own.unwrap().namespace.clone();
    let app = bookstore().own.unwrap().labels.clone();
    let selector: Vec<(&str, &str)> = app.iter().map(|(key, value)| (key.as_str(), value.as_str())).take(1).collect();
    let mut root = object("istio-system", "1-root", &[]);
    root.tracing = vec![tracing(Mode::Both, None, Some(5.0))];
    let mut wide = object(&namespace, "2-wide", &[]);
    wide.tracing = vec![tracing(Mode::Server, Some("narrow"), None)];
    let mut own = object(&namespace, "3-own", &selector);
    own.tracing = vec![tracing(Mode::Client, None, Some(50.0))];
    let mut foreign = object("elsewhere", "0-foreign", &[]);
    foreign.tracing = vec![tracing(Mode::Both, Some("narrow"), Some(100.0))];
    let mut later = object(&namespace, "4-later", &selector);
    later.tracing = vec![tracing(Mode::Both, Some("narrow"), Some(0.0))];

    let seen = |plan: &Plan| {
        [Direction::Outbound, Direction::Inbound].map(|direction| {
            let tracing = plan.telemetry().of(direction).tracing.clone().unwrap();
            (tracing.collector.host.clone(), tracing.sampling)
        })
    };
    assert_eq!(seen(&plan(settings(), vec![])), [("wide".to_owned(), 1.0), ("wide".to_owned(), 1.0)]);
    let compiled = plan(settings(), vec![root, wide, own, foreign, later]);
    assert_eq!(seen(&compiled), [("wide".to_owned(), 50.0), ("narrow".to_owned(), 5.0)]);
    assert_eq!(compiled.notes().len(), 1, "{:?}", compiled.notes());
    assert!(compiled.problems().is_empty());
    assert_eq!(compiled.telemetry().collectors().len(), 2);
    assert!(plan(MeshSettings::default(), vec![]).telemetry().of(Direction::Outbound).tracing.is_none());
}

#[test]
fn logs_go_where_the_narrowest_object_says() {
    let file = |objects| plan(settings(), objects).telemetry().of(Direction::Inbound).file.clone();
    let with = |namespace: &str, logging| Telemetry { logging, ..object(namespace, namespace, &[]) };
    let namespace = bookstore().own.unwrap().namespace.clone();
    assert_eq!(file(vec![]), None);
    assert_eq!(file(vec![with("istio-system", vec![logging(&["envoy"], false, None)])]), Some(FileLog::All));
    let filtered = file(vec![with("istio-system", vec![logging(&["envoy"], false, Some("response.code >= 400"))])]);
    assert!(matches!(filtered, Some(FileLog::Filtered(filter)) if filter.text() == "response.code >= 400"));
    let root = || with("istio-system", vec![logging(&["envoy"], false, None)]);
    assert_eq!(file(vec![root(), with(&namespace, vec![logging(&[], true, None)])]), Some(FileLog::Off));
    assert_eq!(file(vec![root(), with(&namespace, vec![logging(&["wide"], false, None)])]), Some(FileLog::Off));
    let both = plan(settings(), vec![root(), with(&namespace, vec![logging(&["wide"], false, None), logging(&["envoy"], false, None)])]);
    let observed = both.telemetry().of(Direction::Outbound);
    assert_eq!((observed.file.clone(), observed.logs.len()), (Some(FileLog::All), 1));
}

#[test]
fn providers_that_are_not_there_are_named() {
    let mut wrong = object("istio-system", "wrong", &[]);
    wrong.tracing = vec![tracing(Mode::Both, Some("nobody"), None)];
    wrong.logging = vec![logging(&["prometheus"], false, None)];
    let plan = plan(settings(), vec![wrong]);
    let said: Vec<&str> = plan.problems().iter().map(|(_, why)| why.as_str()).collect();
    assert!(said.len() == 2 && said[0].contains("no provider \"nobody\"") && said[1].contains("does not take access logs"), "{said:?}");
}

#[test]
fn metrics_go_to_prometheus_whatever_else_is_named() {
    let disabled = MetricOverride { mode: Mode::Both, metric: None, disabled: Some(true), tags: BTreeMap::new() };
    let mut said = object("istio-system", "metrics", &[]);
    said.metrics = vec![Metrics { origin: Origin::default(), providers: vec!["wide".into()], overrides: vec![disabled.clone()] }];
    let compiled = plan(settings(), vec![said.clone()]);
    let telemetry = compiled.telemetry();
    assert!(telemetry.prometheus.is_empty());
    assert_eq!(telemetry.metrics.iter().map(|(to, rules)| (to.host.as_str(), rules.len())).collect::<Vec<_>>(), [("wide", 1)]);
    said.metrics[0].providers.clear();
    assert_eq!(*plan(settings(), vec![said]).telemetry().prometheus, [disabled]);
}

#[test]
fn a_share_is_the_same_traces_for_everybody() {
    let mut dice = fastrand_like(7);
    let traces: Vec<u128> = (0..20_000).map(|_| u128::from(dice()) << 64 | u128::from(dice())).collect();
    for percent in [0.0, 1.0, 25.0, 100.0] {
        let share = traces.iter().filter(|trace| sampled(**trace, percent)).count() as f64 / traces.len() as f64 * 100.0;
        assert!((share - percent).abs() < 1.0, "{share} for {percent}");
    }
    assert!(traces.iter().filter(|trace| sampled(**trace, 1.0)).all(|trace| sampled(*trace, 25.0)));
}

/// SplitMix64.
fn fastrand_like(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

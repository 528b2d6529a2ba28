//! What observers are told of the exchanges of one workload: Telemetry objects and the mesh's providers, compiled. Istio's precedence: the
//! root namespace, then the workload's namespace, then the object that selects the workload; what the narrower leaves out stays.

use crate::facts::Direction;
use crate::snapshot::Snapshot;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use taut_model::expression::Expression;
use taut_model::origin::Origin;
use taut_model::policy::ROOT_NAMESPACE;
use taut_model::settings::MeshSettings;
use taut_model::telemetry::{self as model, Collector, Logging, MetricOverride, ProviderKind, Tag};
use taut_model::workload::Workload;

/// The providers that every mesh has.
pub const BUILT_IN: [(&str, ProviderKind); 2] = [("prometheus", ProviderKind::Prometheus), ("envoy", ProviderKind::File)];

#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    /// Of the exchanges that the workload makes, and of those it serves.
    client: Observed,
    server: Observed,
    /// What is left out of `/metrics`, and changed in it.
    pub prometheus: Arc<Vec<MetricOverride>>,
    /// The same for each collector that gets metrics.
    pub metrics: Vec<(Arc<Collector>, Arc<Vec<MetricOverride>>)>,
    /// What it was compiled from, the widest first.
    pub origins: Vec<Origin>,
}

/// What is told of one direction.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// `None`: nobody wants spans.
    pub tracing: Option<Arc<Tracing>>,
    /// `None`: as the proxy was started. Else whether its access log is written, and of what.
    pub file: Option<FileLog>,
    pub logs: Vec<(Arc<Collector>, Option<Arc<Expression>>)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum FileLog {
    Off,
    All,
    Filtered(Arc<Expression>),
}

#[derive(Clone, Debug)]
pub struct Tracing {
    pub collector: Arc<Collector>,
    /// Percent of the traces that begin here.
    pub sampling: f64,
    /// Whether spans are made.
    pub report: bool,
    pub tags: Vec<(String, Tag)>,
    /// Whether what failed is reported although its trace is not sampled; and what took longer.
    pub failures: bool,
    pub slower_than: Option<Duration>,
}

/// The bits of a trace's id that are random in every version of trace context (W3C level 2, section 3.2.2.3).
const RANDOM_BITS: u32 = 56;

/// Whether a trace is among this share of all: the same for all who ask, whatever the share of each.
pub fn sampled(trace: u128, percent: f64) -> bool {
    let random = trace as u64 & ((1 << RANDOM_BITS) - 1);
    // Exact: an f64 has 53 bits, and percentages need fewer.
    let all = (1_u64 << RANDOM_BITS) as f64;
    random as f64 >= all * (1.0 - percent / 100.0)
}

impl Telemetry {
    pub(crate) fn compile(snapshot: &Snapshot, problems: &mut Vec<(Origin, String)>, notes: &mut Vec<(Origin, String)>) -> Self {
        let default = MeshSettings::default();
        let settings = snapshot.settings.values().next().map_or(&default, |settings| &**settings);
        let providers = Providers::of(settings);
        let objects = applicable(snapshot, notes);
        for object in &objects {
            problems.extend(providers.unknown(object).map(|why| (object.origin.clone(), why)));
        }
        let metrics = metrics(&objects, settings, &providers);
        let rules = |name: &str| metrics.get(name).cloned().unwrap_or_default();
        Self {
            client: observed(&objects, settings, &providers, model::Mode::includes_client),
            server: observed(&objects, settings, &providers, model::Mode::includes_server),
            prometheus: Arc::new(providers.prometheus().map(rules).next().unwrap_or_default()),
            metrics: metrics.iter().filter_map(|(name, rules)| Some((providers.collector(name)?, Arc::new(rules.clone())))).collect(),
            origins: objects.iter().map(|object| object.origin.clone()).collect(),
        }
    }

    pub fn of(&self, direction: Direction) -> &Observed {
        match direction {
            Direction::Outbound => &self.client,
            Direction::Inbound => &self.server,
        }
    }

    /// Everybody who is sent something.
    pub fn collectors(&self) -> Vec<Arc<Collector>> {
        let mut all: Vec<Arc<Collector>> = Vec::new();
        let observed = [&self.client, &self.server].into_iter();
        let others = observed.flat_map(|one| one.tracing.iter().map(|tracing| &tracing.collector).chain(one.logs.iter().map(|(to, _)| to)));
        for collector in others.chain(self.metrics.iter().map(|(to, _)| to)) {
            if !all.contains(collector) {
                all.push(collector.clone());
            }
        }
        all
    }
}

/// The objects that concern the workload beside this proxy, the widest first.
fn applicable<'a>(snapshot: &'a Snapshot, notes: &mut Vec<(Origin, String)>) -> Vec<&'a model::Telemetry> {
    let Some(own) = snapshot.own.as_deref() else { return Vec::new() };
    let all = || snapshot.telemetry.values().map(|object| &**object);
    let wide = |namespace: &'a str| all().filter(move |object| object.namespace == namespace && object.selector.is_empty());
    let selects = |object: &&model::Telemetry| object.namespace == own.namespace && !object.selector.is_empty() && own.has_labels(&object.selector);
    let mut chosen = Vec::new();
    let mut take = |candidates: Vec<&'a model::Telemetry>, own: &Workload| {
        let mut candidates = candidates;
        candidates.sort_by_key(|object| (&object.created, &object.origin.object));
        if let Some((first, rest)) = candidates.split_first() {
            chosen.push(*first);
            let why = |later: &&model::Telemetry| (later.origin.clone(), format!("{} is older and says it for {}", first.origin.object, own.uid));
            notes.extend(rest.iter().map(why));
        }
    };
    take(wide(ROOT_NAMESPACE).collect(), own);
    if own.namespace != ROOT_NAMESPACE {
        take(wide(&own.namespace).collect(), own);
    }
    take(all().filter(selects).collect(), own);
    chosen
}

struct Providers(BTreeMap<String, Named>);

enum Named {
    Prometheus,
    File,
    Otlp(Arc<Collector>),
}

impl Providers {
    fn of(settings: &MeshSettings) -> Self {
        let built_in = BUILT_IN.into_iter().map(|(name, kind)| (name.to_owned(), kind));
        let said = settings.providers.iter().map(|provider| (provider.name.clone(), provider.kind.clone()));
        let named = built_in.chain(said).filter_map(|(name, kind)| match kind {
            ProviderKind::Prometheus => Some((name, Named::Prometheus)),
            ProviderKind::File => Some((name, Named::File)),
            ProviderKind::Otlp(collector) => Some((name, Named::Otlp(Arc::new(collector)))),
            ProviderKind::Authorizer(_) => None,
        });
        Self(named.collect())
    }

    fn collector(&self, name: &str) -> Option<Arc<Collector>> {
        match self.0.get(name)? {
            Named::Otlp(collector) => Some(collector.clone()),
            Named::Prometheus | Named::File => None,
        }
    }

    fn prometheus(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, kind)| matches!(kind, Named::Prometheus)).map(|(name, _)| name.as_str())
    }

    /// What an object asks of providers that there are not, or that cannot do it.
    fn unknown<'a>(&'a self, object: &'a model::Telemetry) -> impl Iterator<Item = String> + 'a {
        let tracing = object.tracing.iter().flat_map(|one| &one.provider).map(|name| (name, "spans"));
        let logging = object.logging.iter().flat_map(|one| &one.providers).map(|name| (name, "access logs"));
        let metrics = object.metrics.iter().flat_map(|one| &one.providers).map(|name| (name, "metrics"));
        tracing.chain(logging).chain(metrics).filter_map(|(name, what)| match (self.0.get(name.as_str()), what) {
            (None, _) => Some(format!("there is no provider {name:?}: name it in spec.extensionProviders of the MeshSettings")),
            (Some(Named::Otlp(_)), _) | (Some(Named::File), "access logs") | (Some(Named::Prometheus), "metrics") => None,
            (Some(_), _) => Some(format!("the provider {name:?} does not take {what}")),
        })
    }
}

fn observed(objects: &[&model::Telemetry], settings: &MeshSettings, providers: &Providers, includes: fn(model::Mode) -> bool) -> Observed {
    let mut observed = Observed { tracing: tracing(objects, settings, providers, includes), ..Observed::default() };
    let said = objects.iter().any(|object| object.logging.iter().any(|one| includes(one.mode)));
    if !said && settings.default_providers.logging.is_empty() {
        return observed;
    }
    let logging = logging(objects, settings, includes);
    observed.file = Some(FileLog::Off);
    for (name, filter) in logging {
        let filter = filter.map(Arc::new);
        match providers.0.get(&name) {
            Some(Named::File) => observed.file = Some(filter.map_or(FileLog::All, FileLog::Filtered)),
            Some(Named::Otlp(collector)) => observed.logs.push((collector.clone(), filter)),
            Some(Named::Prometheus) | None => {}
        }
    }
    observed
}

fn tracing(objects: &[&model::Telemetry], settings: &MeshSettings, providers: &Providers, includes: fn(model::Mode) -> bool) -> Option<Arc<Tracing>> {
    let mut provider = settings.default_providers.tracing.as_deref();
    let (mut sampling, mut report, mut tags) = (settings.tracing.sampling, true, None);
    for one in objects.iter().flat_map(|object| &object.tracing).filter(|one| includes(one.mode)) {
        provider = one.provider.as_deref().or(provider);
        sampling = one.sampling.unwrap_or(sampling);
        report = one.disabled.map_or(report, |disabled| !disabled);
        if !one.tags.is_empty() {
            tags = Some(&one.tags);
        }
    }
    let collector = providers.collector(provider?)?;
    let tags = tags.into_iter().flatten().map(|(name, tag)| (name.clone(), tag.clone())).collect();
    let (failures, slower_than) = (settings.tracing.failures, settings.tracing.slower_than);
    Some(Arc::new(Tracing { collector, sampling, report, tags, failures, slower_than }))
}

/// The providers that are used, each with its filter. The first entry of an object that names providers replaces those of wider ones; an
/// entry that names none is about all that are used so far.
fn logging(objects: &[&model::Telemetry], settings: &MeshSettings, includes: fn(model::Mode) -> bool) -> BTreeMap<String, Option<Expression>> {
    let defaults = || settings.default_providers.logging.iter().map(|name| (name.clone(), None)).collect();
    let mut used: BTreeMap<String, Option<Expression>> = defaults();
    for object in objects {
        let entries: Vec<&Logging> = object.logging.iter().filter(|one| includes(one.mode)).collect();
        let mut fresh = entries.iter().any(|one| !one.providers.is_empty() && !one.disabled);
        for one in entries {
            if one.disabled {
                used.retain(|name, _| !one.providers.is_empty() && !one.providers.contains(name));
                continue;
            }
            let names = match one.providers.is_empty() {
                // Switched off above, and on again here.
                true if used.is_empty() => defaults().into_keys().collect(),
                true => used.keys().cloned().collect(),
                false => {
                    if std::mem::take(&mut fresh) {
                        used.clear();
                    }
                    one.providers.clone()
                }
            };
            used.extend(names.into_iter().map(|name| (name, one.filter.clone())));
        }
    }
    used
}

/// What is changed for each provider of metrics. Prometheus is always one.
fn metrics(objects: &[&model::Telemetry], settings: &MeshSettings, providers: &Providers) -> BTreeMap<String, Vec<MetricOverride>> {
    let mut used: Vec<String> = settings.default_providers.metrics.clone();
    let mut rules: BTreeMap<String, Vec<MetricOverride>> = BTreeMap::new();
    used.extend(providers.prometheus().map(str::to_owned));
    for object in objects {
        for one in &object.metrics {
            let names = if one.providers.is_empty() { &used } else { &one.providers };
            for name in names {
                rules.entry(name.clone()).or_default().extend(one.overrides.iter().cloned());
            }
        }
        let named: Vec<String> = object.metrics.iter().flat_map(|one| &one.providers).cloned().collect();
        if !named.is_empty() {
            rules.retain(|name, _| named.contains(name) || matches!(providers.0.get(name), Some(Named::Prometheus)));
            used = named;
        }
    }
    for name in used {
        rules.entry(name).or_default();
    }
    rules
}

//! The dashboards of deploy/grafana: every query is read and evaluated over what a proxy really exposes, so that no metric, no label and
//! no variable in them is a misspelling.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use promql_parser::parser::{Expr, parse};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::Value;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use taut_control::prometheus::{Answer, Budget, Failure, LabelSet, MOST_SAMPLES, Sample, Selector, Series, Source, Window, instant, read};
use taut_observe::metrics::Registry;
use taut_observe::record::{ConnectionRecord, Edge, ExchangeRecord, Party, Protocol, Reporter};
use taut_observe::text::{Id, Text};

const NOW: i64 = 1_700_000_000_000;
const SCRAPE: i64 = 15_000;

fn edge(reporter: Reporter, protocol: Protocol) -> Edge {
    let party = |name: &str| {
        let app = name.to_owned();
        Arc::new(Party {
            workload: format!("{name}-v1"),
            namespace: "shop".into(),
            app,
            version: "v1".into(),
            principal: "spiffe://x/ns/shop/sa/a".into(),
        })
    };
    Edge {
        reporter,
        source: party("web"),
        // A workload that is called and calls, for the dashboard of workloads.
        destination: party(if reporter == Reporter::Source { "cart" } else { "web" }),
        service_host: "cart.shop.svc.cluster.local".into(),
        service_name: "cart".into(),
        service_namespace: "shop".into(),
        mutual_tls: true,
        protocol,
    }
}

fn exchange(reporter: Reporter, protocol: Protocol, status: u16) -> ExchangeRecord {
    ExchangeRecord {
        edge: edge(reporter, protocol),
        started: "2026-01-01T00:00:00Z".parse().unwrap(),
        request_id: Id::None,
        trace_id: Id::None,
        method: "GET".into(),
        authority: "cart".into(),
        path: "/".into(),
        status,
        grpc_status: (protocol == Protocol::Grpc).then_some(0),
        failure: None,
        request_bytes: 5,
        response_bytes: 300,
        duration_us: 12_500,
        waited_us: 0,
        upstream_us: 12_000,
        attempts: SmallVec::new(),
        plan: 1,
        rule: None,
        would_deny: None,
        route: Text::default(),
    }
}

/// What a proxy exposes, scrape after scrape, while it carries traffic.
struct Scraped(Vec<Series>);

impl Scraped {
    fn new() -> Self {
        let registry = Registry::default();
        let mut series: BTreeMap<LabelSet, Vec<Sample>> = BTreeMap::new();
        for at in (0..=40).map(|n| NOW - 40 * SCRAPE + n * SCRAPE) {
            for reporter in [Reporter::Source, Reporter::Destination] {
                let answered = [(Protocol::Http, 200), (Protocol::Grpc, 200), (Protocol::Http, 500)];
                answered.into_iter().for_each(|(protocol, status)| registry.exchange(&exchange(reporter, protocol, status)));
                let edge = edge(reporter, Protocol::Tcp);
                registry.connection_opened(&edge);
                registry.connection(&ConnectionRecord {
                    edge,
                    started: "2026-01-01T00:00:00Z".parse().unwrap(),
                    connection_id: Id::None,
                    failure: None,
                    received_bytes: 10,
                    sent_bytes: 20,
                    duration_us: 1,
                    endpoint: "shop/cart-1".into(),
                    plan: 1,
                    rule: None,
                });
            }
            for line in registry.render(&[]).lines().filter(|line| !line.starts_with('#')) {
                let (labels, value) = read_line(line);
                series.entry(labels).or_default().push(Sample { at, value });
            }
        }
        Self(series.into_iter().map(|(labels, samples)| Series { labels, samples }).collect())
    }

    fn labels_of(&self, metric: &str) -> BTreeSet<String> {
        let sets = self.0.iter().filter(|series| metric.is_empty() || series.labels.value("__name__") == metric);
        sets.flat_map(|series| series.labels.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()).collect()
    }
}

/// One line of the text format. No label here holds a quote.
fn read_line(line: &str) -> (LabelSet, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let pairs = labels.trim_end_matches('}').split("\",").filter_map(|pair| pair.trim_end_matches('"').split_once("=\""));
    (LabelSet::new(pairs.chain([("__name__", name)])), value.parse().unwrap())
}

impl Source for Scraped {
    fn select(&self, selector: &Selector, window: Window, _: &mut Budget<'_>) -> Result<Vec<Series>, Failure> {
        let within = |samples: &[Sample]| samples.iter().copied().filter(|sample| (window.from..=window.to).contains(&sample.at)).collect();
        let matching = self.0.iter().filter(|series| selector.matches(&series.labels));
        Ok(matching.map(|series| Series { labels: series.labels.clone(), samples: within(&series.samples) }).collect())
    }
}

/// Metrics and labels that a query names.
struct Names<'a>(&'a Scraped);

impl ExprVisitor for Names<'_> {
    type Error = String;

    fn pre_visit(&mut self, expression: &Expr) -> Result<bool, String> {
        let known = |metric: &str, label: &str| match label == "le" || self.0.labels_of(metric).contains(label) {
            true => Ok(()),
            false => Err(format!("no series {metric:?} has the label {label:?}")),
        };
        let select = match expression {
            Expr::VectorSelector(select) => select,
            Expr::MatrixSelector(matrix) => &matrix.vs,
            Expr::Aggregate(aggregate) => {
                let labels = aggregate.modifier.iter().flat_map(|modifier| modifier.labels().labels.clone());
                return labels.into_iter().try_for_each(|label| known("", &label)).map(|()| true);
            }
            _ => return Ok(true),
        };
        let metric = select.name.clone().unwrap_or_default();
        known(&metric, "__name__")?;
        select.matchers.matchers.iter().try_for_each(|matcher| known(&metric, &matcher.name)).map(|()| true)
    }
}

fn substituted(text: &str) -> String {
    let values = [
        ("$__rate_interval", "1m"),
        ("$__range", "5m"),
        ("$__interval", "15s"),
        ("$reporter", "destination"),
        ("$namespace", ".*"),
        ("$service", "cart"),
        ("$workload", "web-v1"),
    ];
    values.iter().fold(text.to_owned(), |text, (variable, value)| text.replace(variable, value))
}

fn dashboards() -> Vec<(String, Value)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/grafana");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "json"));
    files.map(|path| (path.display().to_string(), serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap())).collect()
}

fn check(scraped: &Scraped, target: &Value) -> Result<(), String> {
    let query = substituted(target["expr"].as_str().ok_or("a target without expr")?);
    if let Some(at) = query.find('$') {
        return Err(format!("{} is no variable of the dashboard", &query[at..]));
    }
    walk_expr(&mut Names(scraped), &parse(&query)?).map_err(|why| format!("{query}: {why}"))?;
    let given_up = AtomicBool::new(false);
    let answer = instant(&read(&query).map_err(|error| error.to_string())?, NOW, scraped, Budget::new(MOST_SAMPLES, &given_up));
    let Answer::Vector { points, .. } = answer.map_err(|error| format!("{query}: {error}"))? else { return Err(format!("{query} is no vector")) };
    if points.is_empty() || points.iter().any(|(_, value)| !value.is_finite() || *value <= 0.0) {
        return Err(format!("{query} shows nothing: {points:?}"));
    }
    let legend = target["legendFormat"].as_str().unwrap_or_default();
    let labels = legend.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")).map(|(label, _)| label);
    let unknown: Vec<&str> = labels.filter(|label| points.iter().all(|(set, _)| set.value(label).is_empty())).collect();
    if unknown.is_empty() { Ok(()) } else { Err(format!("{query}: the legend names {unknown:?}")) }
}

#[test]
fn every_query_shows_something() {
    let scraped = Scraped::new();
    let mut checked = 0;
    for (file, dashboard) in dashboards() {
        for panel in dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{file}: {}", panel["title"]);
            for target in panel["targets"].as_array().unwrap() {
                check(&scraped, target).unwrap_or_else(|why| panic!("{file}: {}: {why}", panel["title"]));
                checked += 1;
            }
        }
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        assert_eq!(variables[0]["type"], "datasource", "{file}");
        for variable in variables.iter().filter(|variable| variable["type"] == "query") {
            let asked = variable["query"]["query"].as_str().unwrap();
            let inner = asked.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).expect("label_values(METRIC, LABEL)");
            let (selector, label) = inner.rsplit_once(", ").unwrap();
            let metric = selector.split('{').next().unwrap();
            assert!(scraped.labels_of(metric).contains(label), "{file}: {asked}");
        }
    }
    assert!(checked >= 50, "only {checked} queries");
}

#[test]
fn a_misspelling_is_found() {
    let scraped = Scraped::new();
    for wrong in [
        "sum(rate(istio_request_total[1m]))",
        "sum(rate(istio_requests_total{reporter=\"destination\",sourceworkload=\"a\"}[1m]))",
        "sum by (response_codes) (istio_requests_total)",
        "sum(istio_requests_total{reporter=\"$reporters\"})",
    ] {
        assert!(check(&scraped, &serde_json::json!({"expr": wrong})).is_err(), "{wrong}");
    }
}

//! PetShop's files: a graph of services, fault-free rows, and issues with what is known of them.

use crate::read;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Rows of one kind of figure, by service.
pub type Columns = BTreeMap<String, Vec<Option<f64>>>;

/// Five minutes a row.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub rows: usize,
    /// By metric and statistic, as in `latency Average`.
    pub figures: BTreeMap<String, Columns>,
}

impl Metrics {
    fn read(path: &Path) -> Result<Self, String> {
        let rows = read::rows(&read::text(path)?);
        let [services, metrics, statistics, rest @ ..] = rows.as_slice() else {
            return Err(format!("{}: three rows of headings were expected: microservice, metric, statistic", path.display()));
        };
        let values: Vec<&Vec<String>> = rest.iter().filter(|row| row.first().is_some_and(|time| read::figure(time).is_some())).collect();
        let mut figures: BTreeMap<String, Columns> = BTreeMap::new();
        for (at, service) in services.iter().enumerate().skip(1) {
            let (Some(metric), Some(statistic)) = (metrics.get(at), statistics.get(at)) else { continue };
            let column = values.iter().map(|row| row.get(at).and_then(|field| read::figure(field))).collect();
            figures.entry(format!("{metric} {statistic}")).or_default().insert(service.clone(), column);
        }
        Ok(Self { rows: values.len(), figures })
    }

    /// A service's rows, empty where there are none.
    pub fn of(&self, figure: &str, service: &str) -> &[Option<f64>] {
        self.figures.get(figure).and_then(|columns| columns.get(service)).map_or(&[], Vec::as_slice)
    }

    pub fn services(&self) -> impl Iterator<Item = &String> {
        self.figures.values().next().into_iter().flat_map(BTreeMap::keys)
    }

    pub fn slice(&self, from: usize, to: usize) -> Self {
        let (from, to) = (from.min(self.rows), to.min(self.rows));
        let cut = |column: &Vec<Option<f64>>| column.get(from..to.min(column.len())).unwrap_or_default().to_vec();
        let figures =
            self.figures.iter().map(|(figure, columns)| (figure.clone(), columns.iter().map(|(name, column)| (name.clone(), cut(column))).collect()));
        Self { rows: to.saturating_sub(from), figures: figures.collect() }
    }
}

/// What somebody has noticed: whose figure was off.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Noticed {
    pub service: String,
    pub metric: String,
    pub statistic: String,
}

impl Noticed {
    pub fn figure(&self) -> String {
        format!("{} {}", self.metric, self.statistic)
    }
}

pub struct Issue {
    pub name: String,
    pub noticed: Noticed,
    pub metrics: Metrics,
    /// The service that was broken on purpose.
    pub truth: String,
    pub truth_metric: Option<String>,
}

pub struct Scenario {
    pub name: String,
    /// Caller, callee.
    pub calls: Vec<(String, String)>,
    pub normal: Option<Metrics>,
    pub issues: Vec<Issue>,
}

/// Where an issue's trigger lies: two rows come before it.
pub const TRIGGER: usize = 2;
/// How many rows an issue has from there on.
pub const AFTER: usize = 3;

/// All scenarios below a directory: what has a `graph.csv`. Issues are found in any folder beside it, whatever it is called.
pub fn all(directory: &Path) -> Result<Vec<Scenario>, String> {
    let mut found = Vec::new();
    for path in read::directories(directory)?.into_iter().chain([directory.to_owned()]).filter(|path| path.join("graph.csv").is_file()) {
        found.push(scenario(&path)?);
    }
    if found.is_empty() {
        return Err(format!("{} has no folder with a graph.csv: give the directory of the PetShop data", directory.display()));
    }
    Ok(found)
}

fn scenario(path: &Path) -> Result<Scenario, String> {
    let normal = path.join("noissue").join("metrics.csv");
    let normal = if normal.is_file() { Some(Metrics::read(&normal)?) } else { None };
    let mut issues = Vec::new();
    for split in read::directories(path)? {
        for folder in read::directories(&split)?.into_iter().filter(|folder| folder.join("target.json").is_file()) {
            match issue(&folder) {
                Ok(issue) => issues.push(issue),
                // One that cannot be read is said, and is no reason to throw the others away.
                Err(why) => eprintln!("left out: {why}"),
            }
        }
    }
    Ok(Scenario { name: read::name(path), calls: calls(&path.join("graph.csv"))?, normal, issues })
}

fn calls(path: &Path) -> Result<Vec<(String, String)>, String> {
    let rows = read::rows(&read::text(path)?);
    let Some((names, rest)) = rows.split_first() else { return Err(format!("{}: empty", path.display())) };
    let of = |row: &Vec<String>| {
        let caller = row.first().cloned().unwrap_or_default();
        let called = |(at, field): (usize, &String)| (read::figure(field)? != 0.0).then(|| names.get(at).cloned())?;
        row.iter().enumerate().skip(1).filter_map(called).map(|callee| (caller.clone(), callee)).collect::<Vec<_>>()
    };
    Ok(rest.iter().flat_map(of).collect())
}

fn issue(path: &Path) -> Result<Issue, String> {
    let file = path.join("target.json");
    let target: Value = serde_json::from_str(&read::text(&file)?).map_err(|error| format!("{}: {error}", file.display()))?;
    let word = |pointer: &str| target.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let needed = |pointer: &str| word(pointer).ok_or_else(|| format!("{}: {pointer} was expected and is not there", file.display()));
    Ok(Issue {
        name: path.components().rev().take(2).map(|part| part.as_os_str().to_string_lossy().into_owned()).collect::<Vec<_>>().join(" of "),
        noticed: Noticed {
            service: needed("/target/node")?,
            metric: needed("/target/metric")?,
            statistic: word("/target/agg").unwrap_or_else(|| "Average".into()),
        },
        metrics: Metrics::read(&path.join("metrics.csv"))?,
        truth: needed("/root_cause/node")?,
        truth_metric: word("/root_cause/metric"),
    })
}

/// The fault-free rows to compare with: a scenario's own, or those of another at whose time the target had the most similar load.
pub fn normal<'s>(scenarios: &'s [Scenario], scenario: &'s Scenario, noticed: &Noticed, metrics: &Metrics) -> Option<&'s Metrics> {
    let load = |metrics: &Metrics| read::median(metrics.of("requests Sum", &noticed.service).iter().flatten().copied());
    let here = load(&metrics.slice(0, TRIGGER)).unwrap_or(1.0).max(1.0);
    let unlike = |normal: &Metrics| load(normal).map_or(f64::MAX, |load| (load.max(1.0) / here).ln().abs());
    let others = scenarios.iter().filter_map(|other| other.normal.as_ref());
    scenario.normal.as_ref().or_else(|| others.min_by(|a, b| unlike(a).total_cmp(&unlike(b))))
}

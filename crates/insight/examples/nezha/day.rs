//! One day of Nezha: figures of pods, of links as either side saw them, and of the front, by minute; and the faults that were injected.

use crate::read;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Values with the second they are of, in order, with what is usual for them.
#[derive(Clone, Debug, Default)]
pub struct Series {
    values: Vec<(i64, f64)>,
    pub usual: f64,
    /// How far the middle of three minutes wanders from that: the day's own faults are in it, but the median, and the 95th percentile (1.645
    /// deviations of a normal distribution), do not mind a few minutes of them.
    pub wander: f64,
}

impl Series {
    fn of(mut values: Vec<(i64, f64)>) -> Self {
        values.sort_by_key(|(at, _)| *at);
        let usual = read::median(values.iter().map(|(_, value)| *value)).unwrap_or(0.0);
        let mut windows: Vec<f64> = values.windows(3).filter_map(|window| read::median(window.iter().map(|(_, value)| *value))).collect();
        windows.sort_by(f64::total_cmp);
        let high = windows.get(windows.len() * 95 / 100).map_or(0.0, |value| (value - usual) / 1.645);
        let wander = read::robust_deviation(&windows).unwrap_or(0.0).max(high);
        Self { values, usual, wander }
    }

    pub fn within(&self, from: i64, to: i64) -> impl Iterator<Item = f64> + '_ {
        let at = |second: i64| self.values.partition_point(|(time, _)| *time < second);
        self.values.get(at(from)..at(to)).unwrap_or_default().iter().map(|(_, value)| *value)
    }

    pub fn ends(&self) -> impl Iterator<Item = i64> + '_ {
        self.values.first().into_iter().chain(self.values.last()).map(|(at, _)| *at)
    }

    /// What the same minute has more than in another.
    fn less(&self, other: &Self) -> Self {
        let difference = |(at, value): &(i64, f64)| Some((*at, value - other.within(at - 30, at + 30).next()?));
        Self::of(self.values.iter().filter_map(difference).collect())
    }
}

/// By column: a file.
pub type Table = BTreeMap<String, Series>;

pub struct Fault {
    pub at: i64,
    pub time: String,
    pub service: String,
    pub kind: String,
}

pub struct Day {
    pub name: String,
    /// By service.
    pub pods: BTreeMap<String, Table>,
    pub front: Table,
    /// The service that users reach first.
    pub entry: String,
    /// By `(caller, callee)`: medians in seconds.
    pub callers: BTreeMap<(String, String), Series>,
    pub callees: BTreeMap<(String, String), Series>,
    /// What callers saw less what callees saw.
    pub gaps: BTreeMap<(String, String), Series>,
    pub faults: Vec<Fault>,
}

/// The days below a directory, or the one that it is.
pub fn all(directory: &Path) -> Result<Vec<Day>, String> {
    let is_day = |path: &PathBuf| fault_list(path).is_some();
    let mut paths: Vec<PathBuf> = read::directories(directory)?.into_iter().filter(is_day).collect();
    if is_day(&directory.to_owned()) {
        paths.push(directory.to_owned());
    }
    if paths.is_empty() {
        return Err(format!("{} has no …fault_list.json, nor has a folder in it: give a day of Nezha's data", directory.display()));
    }
    paths.iter().map(|path| day(path)).collect()
}

fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<PathBuf> = entries.filter(|path| path.is_file() && read::name(path).ends_with(ending)).collect();
    found.sort();
    found
}

fn fault_list(path: &Path) -> Option<PathBuf> {
    files(path, "fault_list.json").into_iter().next()
}

fn day(path: &Path) -> Result<Day, String> {
    let metric = path.join("metric");
    let mut pods = BTreeMap::new();
    for file in files(&metric, "_metric.csv") {
        pods.insert(service(read::name(&file).trim_end_matches("_metric.csv")), table(&file)?);
    }
    let optional = |name: &str| {
        let file = metric.join(name);
        table(&file).unwrap_or_else(|why| {
            eprintln!("goes on without: {why}");
            Table::new()
        })
    };
    let links = |table: Table| table.into_iter().filter_map(|(name, series)| Some((link(&name)?, series))).collect::<BTreeMap<_, _>>();
    let (callers, callees) = (links(optional("source_50.csv")), links(optional("destination_50.csv")));
    let entry = entry(&metric, callers.keys().chain(callees.keys()));
    let faults = fault_list(path).ok_or_else(|| format!("{} has no …fault_list.json", path.display())).and_then(|file| faults(&file))?;
    let gaps = callers.iter().filter_map(|(link, caller)| Some((link.clone(), caller.less(callees.get(link)?)))).collect();
    Ok(Day { name: read::name(path), pods, front: optional("front_service.csv"), entry, callers, callees, gaps, faults })
}

/// `adservice-5f6585d649-fnmft`: Kubernetes puts two hashes behind a deployment's name.
fn service(pod: &str) -> String {
    pod.rsplitn(3, '-').last().unwrap_or(pod).to_owned()
}

fn link(column: &str) -> Option<(String, String)> {
    let (caller, callee) = column.split_once('_')?;
    Some((caller.to_owned(), callee.to_owned()))
}

/// What the front's file says, where that is a service; or else who calls most and is not called.
fn entry<'a>(metric: &Path, links: impl Iterator<Item = &'a (String, String)>) -> String {
    let links: BTreeSet<&(String, String)> = links.collect();
    let rows = read::text(&metric.join("front_service.csv")).map(|text| read::rows(&text)).unwrap_or_default();
    let column = rows.first().and_then(|heading| heading.iter().position(|name| name == "ServiceName"));
    let said = column.and_then(|at| Some(rows.get(1)?.get(at)?.to_lowercase()));
    if let Some(said) = said.filter(|said| links.iter().any(|(caller, _)| caller == said)) {
        return said;
    }
    let mut calls: BTreeMap<&str, usize> = BTreeMap::new();
    for (caller, _) in links.iter().filter(|(caller, _)| !links.iter().any(|(_, callee)| callee == caller)) {
        *calls.entry(caller).or_default() += 1;
    }
    calls.into_iter().max_by_key(|(_, calls)| *calls).map_or_else(|| "front".into(), |(name, _)| name.to_owned())
}

fn faults(file: &Path) -> Result<Vec<Fault>, String> {
    let list: Value = serde_json::from_str(&read::text(file)?).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut faults = Vec::new();
    for fault in list.as_object().into_iter().flat_map(|hours| hours.values()).filter_map(Value::as_array).flatten() {
        let word = |name: &str| fault.get(name).and_then(Value::as_str).map(str::to_owned);
        match (word("inject_time").as_deref().map(|time| (time.to_owned(), second(time))), word("inject_pod"), word("inject_type")) {
            (Some((time, Some(at))), Some(pod), Some(kind)) => faults.push(Fault { at, time, service: service(&pod), kind }),
            _ => eprintln!("left out: {}: a fault without inject_time, inject_pod or inject_type: {fault}", file.display()),
        }
    }
    faults.sort_by_key(|fault| fault.at);
    Ok(faults)
}

/// A file by column. The time is that of `Time`: `TimeStamp` is wrong here and there.
fn table(file: &Path) -> Result<Table, String> {
    let rows = read::rows(&read::text(file)?);
    let Some((heading, rest)) = rows.split_first() else { return Err(format!("{}: empty", file.display())) };
    let Some(time) = heading.iter().position(|name| name.eq_ignore_ascii_case("time")) else {
        return Err(format!("{}: a column `Time` was expected", file.display()));
    };
    let mut columns: BTreeMap<String, Vec<(i64, f64)>> = BTreeMap::new();
    for row in rest {
        let Some(at) = row.get(time).and_then(|text| second(text)) else { continue };
        for (name, field) in heading.iter().zip(row) {
            if let Some(value) = read::figure(field) {
                columns.entry(name.clone()).or_default().push((at, value));
            }
        }
    }
    Ok(columns.into_iter().map(|(name, values)| (name, Series::of(values))).collect())
}

/// Seconds since 1970 of `2022-08-22 03:51:19…`, taken for UTC.
fn second(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    // Days since 1970-03-01 and back: years begin in March, so that leap days come last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

//! The Numenta Anomaly Benchmark's files: series and the windows that are labelled as anomalous.

use std::collections::BTreeMap;
use std::path::Path;

pub struct Series {
    /// `folder/file.csv`.
    pub name: String,
    pub values: Vec<f64>,
    /// First and last row of each window.
    pub windows: Vec<(usize, usize)>,
}

impl Series {
    /// Rows at the start that are not scored.
    pub fn probation(&self) -> usize {
        self.values.len().min(5000) * 15 / 100
    }
}

/// Reads `DIR/data` and `DIR/labels/combined_windows.json`, in the order of names.
pub fn read(directory: &Path) -> Result<Vec<Series>, String> {
    let labels = text(&directory.join("labels/combined_windows.json"))?;
    let labels: BTreeMap<String, Vec<(String, String)>> =
        serde_json::from_str(&labels).map_err(|error| format!("labels/combined_windows.json: {error}"))?;
    labels.into_iter().map(|(name, windows)| series(directory, name, &windows)).collect()
}

fn series(directory: &Path, name: String, windows: &[(String, String)]) -> Result<Series, String> {
    let content = text(&directory.join("data").join(&name))?;
    let (mut stamps, mut values) = (Vec::new(), Vec::new());
    for (line, row) in content.lines().enumerate().skip(1) {
        let parsed = row.split_once(',').and_then(|(stamp, value)| Some((stamp.to_owned(), value.trim().parse().ok()?)));
        let (stamp, value): (String, f64) = parsed.ok_or_else(|| format!("{name}:{}: expected `timestamp,value`, found `{row}`", line + 1))?;
        stamps.push(stamp);
        values.push(value);
    }
    let row = |stamp: &str| {
        let stamp = stamp.split('.').next().unwrap_or(stamp);
        stamps.iter().position(|row| row == stamp).ok_or_else(|| format!("{name}: no row of the time {stamp} that a window is labelled with"))
    };
    let windows = windows.iter().map(|(first, last)| Ok((row(first)?, row(last)?))).collect::<Result<_, String>>()?;
    Ok(Series { name, values, windows })
}

fn text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}; the directory is to be one of github.com/numenta/NAB", path.display()))
}

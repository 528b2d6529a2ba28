//! Reading the public data sets: tables of text with their mistakes, and statistics of columns in which values lack.

use std::fs;
use std::path::{Path, PathBuf};

pub fn text(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}; give the directory of the data set", path.display()))
}

/// The directories in a directory, by name.
pub fn directories(path: &Path) -> Result<Vec<PathBuf>, String> {
    let cannot = |error| format!("cannot list {}: {error}; give the directory of the data set", path.display());
    let mut found: Vec<PathBuf> =
        fs::read_dir(path).map_err(cannot)?.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect();
    found.sort();
    Ok(found)
}

pub fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Rows of fields; commas within quotes do not part.
pub fn rows(text: &str) -> Vec<Vec<String>> {
    text.lines().filter(|line| !line.trim().is_empty()).map(fields).collect()
}

fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    for letter in line.trim_end_matches('\r').chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => fields.last_mut().into_iter().for_each(|field| field.push(letter)),
        }
    }
    fields
}

/// A figure, or none where the field is empty or no figure.
pub fn figure(field: &str) -> Option<f64> {
    field.trim().parse::<f64>().ok().filter(|value| value.is_finite())
}

pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// The deviation that a normal distribution with these quartiles would have.
pub fn robust_deviation(values: &[f64]) -> Option<f64> {
    let middle = median(values.iter().copied())?;
    median(values.iter().map(|value| (value - middle).abs())).map(|deviation| 1.4826 * deviation)
}

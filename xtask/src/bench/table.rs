//! Figures as tables for people and as JSON for programs; medians over rounds; ratios to HAProxy.

use serde_json::{Value, json};

/// The system whose figures the ratios are to.
const REFERENCE: &str = "HAProxy";

pub struct Column {
    /// In JSON; ends in the unit.
    pub key: &'static str,
    pub title: &'static str,
    pub decimals: usize,
    /// Followed by a column with the ratio to HAProxy's.
    pub ratio: bool,
}

pub const fn column(key: &'static str, title: &'static str, decimals: usize) -> Column {
    Column { key, title, decimals, ratio: false }
}

pub const fn compared(key: &'static str, title: &'static str, decimals: usize) -> Column {
    Column { key, title, decimals, ratio: true }
}

/// What one round of one case of one system gave: a figure per column (NaN: none), and how much of the load failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    pub figures: Vec<f64>,
    pub failed: u64,
}

struct Row {
    system: &'static str,
    case: String,
    /// `None` if no round came to an end.
    measured: Option<Measured>,
}

pub struct Sheet {
    kind: &'static str,
    title: &'static str,
    note: &'static str,
    columns: &'static [Column],
    rows: Vec<Row>,
    problems: Vec<String>,
}

impl Sheet {
    pub fn new(kind: &'static str, title: &'static str, note: &'static str, columns: &'static [Column]) -> Self {
        Self { kind, title, note, columns, rows: Vec::new(), problems: Vec::new() }
    }

    /// The rounds of one system in one case. A round that did not come to an end is told below the table.
    pub fn add(&mut self, system: &'static str, case: &str, rounds: Vec<Result<Measured, String>>) {
        let mut measured = Vec::new();
        for round in rounds {
            match round {
                Ok(round) => measured.push(round),
                Err(why) => self.problems.push(format!("{system}, {case}: {why}")),
            }
        }
        self.rows.push(Row { system, case: case.to_owned(), measured: median(&measured) });
    }

    pub fn text(&self) -> String {
        let mut lines = vec![self.heads()];
        lines.extend(self.rows.iter().map(|row| self.cells(row)));
        let wide = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..lines[0].len()).map(wide).collect();
        let mut text = format!("## {}\n\n{}\n\n", self.title, self.note);
        for (number, line) in lines.iter().enumerate() {
            let cells: Vec<String> = line.iter().zip(&widths).enumerate().map(|(at, (cell, width))| padded(cell, *width, at < 2)).collect();
            text += &format!("| {} |\n", cells.join(" | "));
            if number == 0 {
                let rules: Vec<String> =
                    widths.iter().enumerate().map(|(at, width)| if at < 2 { "-".repeat(*width) } else { "-".repeat(*width - 1) + ":" }).collect();
                text += &format!("| {} |\n", rules.join(" | "));
            }
        }
        for problem in &self.problems {
            text += &format!("\nNot measured: {problem}\n");
        }
        text
    }

    /// The rows whose load failed, wholly or in part: no figure of them is to be trusted.
    pub fn failures(&self) -> impl Iterator<Item = String> {
        let failed = |row: &Row| row.measured.as_ref().is_none_or(|measured| measured.failed > 0);
        self.rows.iter().filter(move |row| failed(row)).map(|row| format!("{} ({}, {})", row.system, self.kind, row.case))
    }

    pub fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let figures = row.measured.iter().flat_map(|measured| self.columns.iter().zip(&measured.figures));
            let figures: serde_json::Map<String, Value> = figures.map(|(column, figure)| (column.key.to_owned(), json!(figure))).collect();
            json!({ "system": row.system, "case": row.case, "figures": figures, "failed": row.measured.as_ref().map(|measured| measured.failed) })
        });
        json!({ "kind": self.kind, "title": self.title, "rows": rows.collect::<Vec<_>>(), "problems": self.problems })
    }

    fn heads(&self) -> Vec<String> {
        let mut heads = vec!["case".to_owned(), "system".to_owned()];
        for column in self.columns {
            heads.push(column.title.to_owned());
            if column.ratio {
                heads.push(format!("x {REFERENCE}"));
            }
        }
        heads.push("failed".to_owned());
        heads
    }

    fn cells(&self, row: &Row) -> Vec<String> {
        let mut cells = vec![row.case.clone(), row.system.to_owned()];
        for (at, column) in self.columns.iter().enumerate() {
            let figure = figure(row, at);
            cells.push(figure.map_or("-".to_owned(), |figure| format!("{figure:.*}", column.decimals)));
            if column.ratio {
                let reference =
                    self.rows.iter().find(|other| other.system == REFERENCE && other.case == row.case).and_then(|other| self::figure(other, at));
                let ratio = figure.zip(reference).filter(|(_, reference)| *reference > 0.0).map(|(figure, reference)| figure / reference);
                cells.push(ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")));
            }
        }
        cells.push(match &row.measured {
            None => "ALL".to_owned(),
            Some(measured) if measured.failed > 0 => format!("FAILED {}", measured.failed),
            Some(_) => "0".to_owned(),
        });
        cells
    }
}

fn figure(row: &Row, at: usize) -> Option<f64> {
    row.measured.as_ref()?.figures.get(at).copied().filter(|figure| figure.is_finite())
}

fn padded(cell: &str, width: usize, left: bool) -> String {
    if left { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
}

/// The median of each figure over the rounds; failures are summed, so that none is hidden.
fn median(rounds: &[Measured]) -> Option<Measured> {
    let columns = rounds.first()?.figures.len();
    let middle = |column: usize| -> f64 {
        let mut figures: Vec<f64> = rounds.iter().filter_map(|round| round.figures.get(column).copied()).collect();
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
    };
    Some(Measured { figures: (0..columns).map(middle).collect(), failed: rounds.iter().map(|round| round.failed).sum() })
}

#[cfg(test)]
mod tests {
    use super::*;

    static COLUMNS: [Column; 2] = [column("per_second", "requests/s", 0), compared("cpu_us", "CPU us", 1)];

    fn measured(per_second: f64, cpu_us: f64, failed: u64) -> Result<Measured, String> {
        Ok(Measured { figures: vec![per_second, cpu_us], failed })
    }

    #[test]
    fn each_figure_is_its_own_median_and_every_failure_counts() {
        let rounds = [measured(100.0, 9.0, 0), measured(300.0, 7.0, 2), measured(200.0, 8.0, 1)].map(Result::unwrap);
        assert_eq!(median(&rounds), Some(Measured { figures: vec![200.0, 8.0], failed: 3 }));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn ratios_are_to_the_reference_in_the_same_case() {
        let mut sheet = Sheet::new("http1", "HTTP/1.1", "How.", &COLUMNS);
        sheet.add("direct", "1", vec![measured(900.0, f64::NAN, 0)]);
        sheet.add("HAProxy", "1", vec![measured(100.0, 8.0, 0)]);
        sheet.add("HAProxy", "2", vec![measured(100.0, 80.0, 0)]);
        sheet.add("other", "1", vec![measured(50.0, 6.0, 4)]);
        sheet.add("broken", "1", vec![Err("it is not there".to_owned())]);
        let text = sheet.text();
        let cells = |system: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.split('|').nth(2).is_some_and(|cell| cell.trim() == system)).unwrap();
            line.split('|').map(|cell| cell.trim().to_owned()).skip(3).collect()
        };
        assert_eq!(cells("direct")[..4], ["900", "-", "-", "0"]);
        assert_eq!(cells("other")[..4], ["50", "6.0", "0.75", "FAILED 4"]);
        assert_eq!(cells("broken")[..4], ["-", "-", "-", "ALL"]);
        assert!(text.contains("Not measured: broken, 1: it is not there"), "{text}");
        assert_eq!(sheet.json()["rows"][0]["figures"]["cpu_us"], Value::Null);
        assert_eq!(sheet.failures().collect::<Vec<_>>(), ["other (http1, 1)", "broken (http1, 1)"]);
    }
}

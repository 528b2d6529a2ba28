//! What ran through two sidecars, row by row: each when it is known, all of them when the last test has ended.

use crate::support::has;
use std::io::Write;
use std::process::Command;
use std::sync::Mutex;

/// How many tests report here.
const TESTS: usize = TOOLS + RAW;
const TOOLS: usize = 8;
const RAW: usize = 13;

static ROWS: Mutex<Rows> = Mutex::new(Rows { rows: Vec::new(), ended: 0 });

struct Rows {
    rows: Vec<[String; 3]>,
    ended: usize,
}

/// The rows of one test. Dropped, they are part of the table, whatever came of the test.
pub struct Report {
    tool: &'static str,
    rows: Vec<[String; 3]>,
    /// Under way; a test that panics leaves it behind.
    doing: Option<String>,
}

impl Report {
    pub fn new(tool: &'static str) -> Self {
        Self { tool, rows: Vec::new(), doing: None }
    }

    /// `None`, with a row that says why, where a program or a Python package is missing.
    pub fn needing(tool: &'static str, programs: &[&str], packages: &[&str]) -> Option<Self> {
        let mut report = Self::new(tool);
        let python = |package: &&&str| Command::new("python3").args(["-c", &format!("import {package}")]).output().is_ok_and(|o| o.status.success());
        let program = programs.iter().find(|program| !has(program)).map(|program| format!("{program} is not installed"));
        let package = || packages.iter().find(|package| !python(package)).map(|package| format!("Python has no {package}"));
        let Some(missing) = program.or_else(package) else { return Some(report) };
        report.row("everything", format!("skipped: {missing}"));
        None
    }

    /// Does it, and notes what it says.
    pub fn case(&mut self, what: &str, does: impl FnOnce() -> String) {
        self.doing = Some(what.to_owned());
        let result = does();
        self.doing = None;
        self.row(what, result);
    }

    fn row(&mut self, what: &str, result: String) {
        self.rows.push([self.tool.to_owned(), what.to_owned(), result]);
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if let Some(what) = self.doing.take() {
            self.row(&what, "FAILED".to_owned());
        }
        let mut all = ROWS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.rows.append(&mut self.rows);
        all.ended += 1;
        if all.ended == TESTS {
            all.rows.sort();
            print(&all.rows);
        }
    }
}

/// Past the test harness, which keeps back what tests that went well print.
fn print(rows: &[[String; 3]]) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (tool, what) = (width(0), width(1));
    let lines = rows.iter().map(|[a, b, c]| format!("{a:tool$}  {b:what$}  {c}\n"));
    let text: String = std::iter::once(format!("\n{:tool$}  {:what$}  result\n", "tool", "what")).chain(lines).collect();
    // Nobody to tell when there is no standard error.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

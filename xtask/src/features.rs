//! `cargo xtask features`: docs/features.md, from the table in docs/features.yaml. Every test that a row names must exist.

use serde_json::Value;
use std::fs;
use std::path::Path;
use taut_model::tree;

const TABLE: &str = "docs/features.yaml";
const PAGE: &str = "docs/features.md";

const INTRODUCTION: &str = "\
<!-- Generated from docs/features.yaml by `cargo xtask features`: do not edit. -->

# What other meshes do, and what this one does

Every feature of traffic management and of protocols that Istio, Linkerd, Kuma, Consul or App Mesh has, and whether Tautline has it. Its APIs
are Istio's, Gateway API's and Kubernetes' own: a feature that none of them can ask for is no part of them, and the row says so.

| | |
|---|---|
| done | the tests named show it |
| partly | as far as the row says, and the tests named show that; the rest is refused |
| refused | the field is known and refused by name (`Accepted=False`, reason `UnsupportedValue`): nothing weaker than what is written is done |
| outside | no kind that the mesh accepts asks for it, or it is not a mesh's work |
";

/// Writes the page, or with `check` only compares it with what is there.
pub fn run(check: bool) -> Result<(), String> {
    // Asked for at run time: several checkouts may share one target directory, and so one built xtask.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").ok_or("run this as `cargo xtask features`")?;
    let root = Path::new(&package).parent().ok_or("xtask has no parent directory")?;
    let text = read(root, TABLE)?;
    let wanted = page(&text, |test| exists(root, test))?;
    if fs::read_to_string(root.join(PAGE)).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    if check {
        return Err(format!("{PAGE} is not what {TABLE} says\n  run `cargo xtask features` and commit the result"));
    }
    fs::write(root.join(PAGE), wanted).map_err(|error| format!("{PAGE}: {error}"))?;
    println!("{PAGE}");
    Ok(())
}

fn read(root: &Path, path: &str) -> Result<String, String> {
    fs::read_to_string(root.join(path)).map_err(|error| format!("{path}: {error}"))
}

/// A test is written `path/to/file.rs#name_of_the_function`.
fn exists(root: &Path, test: &str) -> Result<(), String> {
    let (path, name) = test.split_once('#').ok_or_else(|| format!("{test:?} is not a test: write path/to/file.rs#name_of_the_function"))?;
    let source = read(root, path)?;
    match source.contains(&format!("fn {name}(")) {
        true => Ok(()),
        false => Err(format!("{path} has no function {name}: was the test renamed?")),
    }
}

/// One row of the table.
struct Row {
    feature: String,
    state: State,
    note: String,
    tests: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Done,
    Partly,
    Refused,
    Outside,
}

impl State {
    const ALL: [Self; 4] = [Self::Done, Self::Partly, Self::Refused, Self::Outside];

    fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Partly => "partly",
            Self::Refused => "refused",
            Self::Outside => "outside",
        }
    }
}

fn page(table: &str, exists: impl Fn(&str) -> Result<(), String>) -> Result<String, String> {
    let document = tree::documents(table, TABLE).into_iter().next().ok_or_else(|| format!("{TABLE} is empty"))?;
    if let Some(problem) = document.problems.first() {
        return Err(problem.to_string());
    }
    let value = document.root.map(|root| root.value()).unwrap_or_default();
    let sections = value["sections"].as_array().ok_or_else(|| format!("{TABLE}: no list \"sections\""))?;
    let mut tables = String::new();
    let mut counts = [0_usize; State::ALL.len()];
    for section in sections {
        let title = section["title"].as_str().ok_or_else(|| format!("{TABLE}: a section without a title"))?;
        tables.push_str(&format!("\n## {title}\n\n| feature | | | tests |\n|---|---|---|---|\n"));
        for row in section["rows"].as_array().into_iter().flatten() {
            let row = self::row(row, &exists).map_err(|because| format!("{TABLE}, {title}: {because}"))?;
            counts.iter_mut().zip(State::ALL).filter(|(_, state)| *state == row.state).for_each(|(count, _)| *count += 1);
            tables.push_str(&written(&row));
        }
    }
    let total: usize = counts.iter().sum();
    let counted: Vec<String> = State::ALL.iter().zip(counts).map(|(state, count)| format!("{count} {}", state.name())).collect();
    Ok(format!("{INTRODUCTION}\nOf {total} features: {}.\n{tables}", counted.join(", ")))
}

fn row(row: &Value, exists: impl Fn(&str) -> Result<(), String>) -> Result<Row, String> {
    let text = |field: &str| row[field].as_str().unwrap_or_default().trim().to_owned();
    let feature = text("feature");
    let known = ["feature", "state", "note", "tests"];
    if let Some(field) = row.as_object().into_iter().flatten().map(|(field, _)| field).find(|field| !known.contains(&field.as_str())) {
        return Err(format!("{feature:?} has a field {field:?}; rows have {}", known.join(", ")));
    }
    let said = text("state");
    let state = State::ALL.into_iter().find(|state| state.name() == said);
    let state = state.ok_or_else(|| format!("{feature:?}: state {said:?} is none of done, partly, refused, outside"))?;
    let tests: Vec<String> = row["tests"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    if feature.is_empty() {
        return Err("a row without a feature".to_owned());
    }
    if matches!(state, State::Done | State::Partly) && tests.is_empty() {
        return Err(format!("{feature:?} is {said} and names no test that shows it"));
    }
    let note = text("note");
    if state != State::Done && note.is_empty() {
        return Err(format!("{feature:?} is {said} and says nothing about it: write a note"));
    }
    tests.iter().try_for_each(|test| exists(test)).map_err(|because| format!("{feature:?}: {because}"))?;
    Ok(Row { feature, state, note, tests })
}

fn written(row: &Row) -> String {
    let link = |test: &String| {
        let (path, name) = test.split_once('#').unwrap_or((test, ""));
        format!("[{name}](../{path})")
    };
    let tests: Vec<String> = row.tests.iter().map(link).collect();
    // A bar would end the cell.
    let cell = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
    format!("| {} | {} | {} | {} |\n", cell(&row.feature), row.state.name(), cell(&row.note), tests.join("<br>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_the_table_says_and_its_tests_exist() {
        assert_eq!(run(true), Ok(()));
    }

    #[test]
    fn a_row_says_what_it_claims() {
        let of = |row: &str| page(&format!("sections:\n- title: T\n  rows:\n  - {row}\n"), |_| Ok(()));
        assert!(of("{ feature: a, state: done, tests: [b.rs#c] }").unwrap().contains("| a | done |  | [c](../b.rs) |\n"));
        for (row, because) in [
            ("{ feature: a, state: done }", "names no test"),
            ("{ feature: a, state: refused }", "write a note"),
            ("{ feature: a, state: maybe }", "is none of done"),
            ("{ feature: a, state: done, test: [b] }", "has a field \"test\""),
        ] {
            assert!(of(row).unwrap_err().contains(because), "{row}");
        }
        assert!(exists(Path::new("/"), "a.rs").unwrap_err().contains("is not a test"));
    }
}

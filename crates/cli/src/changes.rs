//! `taut changes` and `taut rollback`: who changed what when, what it was before, and taking it back.

use crate::api::Api;
use crate::output::{self, Format};
use crate::place::Place;
use crate::{Failure, Outcome};
use http::StatusCode;
use serde_json::{Value, json};

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut changes                     the newest changes of configuration
  taut changes 12                  what generation 12 changed, as a diff
  taut changes -o json | jq '.changes[0].by'")]
pub struct Arguments {
    /// Show one generation: its objects and their differences
    generation: Option<u64>,
    /// How many to list
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
    /// Only those before this generation
    #[arg(long, value_name = "GENERATION")]
    before: Option<u64>,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut rollback 12 --dry-run       what would change
  taut rollback 12                 make a new generation that restores what stood before 12")]
pub struct RollbackArguments {
    /// The generation to take back
    generation: u64,
    /// Only say what would change
    #[arg(long)]
    dry_run: bool,
    /// Also when later changes of the same objects are lost by it
    #[arg(long)]
    force: bool,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub async fn changes(place: &Place, arguments: Arguments) -> Outcome {
    let api = place.api()?;
    let path = match (arguments.generation, arguments.before) {
        (Some(generation), _) => format!("/taut/v1/changes/{generation}"),
        (None, Some(before)) => format!("/taut/v1/changes?limit={}&before={before}", arguments.limit),
        (None, None) => format!("/taut/v1/changes?limit={}", arguments.limit),
    };
    let answer = api.get(&path).await?;
    let answer = match (arguments.generation, answer.status) {
        (Some(generation), StatusCode::NOT_FOUND) => return Err(unknown(&api, generation).await),
        _ => answer.good()?,
    };
    match (arguments.output, arguments.generation) {
        (Format::Table, Some(_)) => output::print(&one(&answer)),
        (Format::Table, None) => output::print(&list(&answer)),
        (format, _) => output::structured(format, &answer),
    }
}

/// Names what there is near a generation that is not.
async fn unknown(api: &Api, generation: u64) -> Failure {
    let why = format!("there is no generation {generation}");
    let newest = match api.get("/taut/v1/changes?limit=1").await.and_then(crate::api::Answer::good) {
        Ok(answer) => answer,
        Err(failure) => return failure,
    };
    let Some(last) = items(&newest, "changes").first().and_then(|change| change["generation"].as_u64()) else {
        return Failure::no(format!("{why}: nothing was changed yet"));
    };
    let oldest = newest["oldest"].as_u64().unwrap_or(last);
    let nearest = generation.clamp(oldest, last);
    let kept = if oldest == last { format!("only {last} is kept") } else { format!("{oldest} to {last} are kept") };
    Failure::no(format!("{why}: {kept}; try `taut changes {nearest}`, or `taut changes` for the list"))
}

pub async fn rollback(place: &Place, arguments: RollbackArguments) -> Outcome {
    let api = place.api()?;
    let answer = take_back(&api, &arguments).await?;
    match arguments.output {
        Format::Table => output::print(&taken_back(&answer, &arguments)),
        format => output::structured(format, &answer),
    }
}

async fn take_back(api: &Api, arguments: &RollbackArguments) -> Outcome<Value> {
    let path = format!("/taut/v1/changes/{}/rollback?force={}&dryRun={}", arguments.generation, arguments.force, arguments.dry_run);
    let answer = api.post(&path, &json!({})).await?;
    match answer.status {
        // The answer is no: nothing was wrong with the question.
        StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => Err(Failure::no(answer.message())),
        StatusCode::NOT_FOUND => Err(unknown(api, arguments.generation).await),
        _ => answer.good(),
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn list(answer: &Value) -> String {
    let all = items(answer, "changes");
    if all.is_empty() {
        return "Nothing was changed yet.\n".to_owned();
    }
    let mut shown = rows(all);
    if let (Some(last), true) = (all.last(), answer["more"] == true) {
        shown.push_str(&format!("\nolder: taut changes --before {}\n", last["generation"]));
    }
    shown
}

/// Changes as a table.
pub fn rows(changes: &[Value]) -> String {
    let row = |change: &Value| {
        let note = text(change, "note");
        let objects = objects(items(change, "objects"));
        vec![
            change["generation"].to_string(),
            text(change, "at").to_owned(),
            author(&change["by"]),
            if note.is_empty() { objects } else { format!("{objects} ({note})") },
            live(&change["live"]),
        ]
    };
    output::table(&["generation", "at", "by", "changed", "live"], changes.iter().map(row))
}

/// `admin (kubectl)`, `./mesh`
fn author(by: &Value) -> String {
    match (text(by, "user"), text(by, "manager"), by["file"].as_str()) {
        (_, _, Some(file)) => file.to_owned(),
        (user, "", None) => user.to_owned(),
        (user, manager, None) => format!("{user} ({manager})"),
    }
}

/// `update VirtualService default/reviews`, and how many more.
fn objects(all: &[Value]) -> String {
    let told = |object: &Value| {
        let namespace = text(object, "namespace");
        let slash = if namespace.is_empty() { "" } else { "/" };
        format!("{} {} {namespace}{slash}{}", text(object, "verb"), text(object, "kind"), text(object, "name"))
    };
    match all {
        [] => String::new(),
        [one] => told(one),
        [first, others @ ..] => format!("{} and {} more", told(first), others.len()),
    }
}

fn live(live: &Value) -> String {
    let count = |field: &str| live[field].as_u64().unwrap_or_default();
    match (count("total"), count("superseded")) {
        (0, 0) => String::from("-"),
        (0, _) => String::from("superseded"),
        (total, _) => format!("{}/{total}", count("live")),
    }
}

fn one(change: &Value) -> String {
    let mut shown = format!("generation {} at {} by {}\n", change["generation"], text(change, "at"), author(&change["by"]));
    let note = text(change, "note");
    if !note.is_empty() {
        shown.push_str(&format!("{note}\n"));
    }
    for object in items(change, "objects") {
        shown.push_str(&format!("\n{}", objects(std::slice::from_ref(object))));
        shown.push_str(&object["source"].as_str().map_or_else(String::new, |source| format!(" ({source})")));
        shown.push('\n');
        shown.push_str(&coloured(text(object, "diff")));
        if object["kept"] == false {
            shown.push_str("  (not all of it is kept)\n");
        }
    }
    shown
}

fn taken_back(answer: &Value, arguments: &RollbackArguments) -> String {
    let mut shown = String::new();
    for object in items(answer, "objects") {
        shown.push_str(&format!("{}\n{}", objects(std::slice::from_ref(object)), coloured(text(object, "diff"))));
    }
    for warning in items(answer, "warnings") {
        shown.push_str(&format!("warning: {}\n", warning.as_str().unwrap_or_default()));
    }
    match arguments.dry_run {
        true => shown.push_str("(dry run: nothing was changed)\n"),
        false => shown.push_str(&format!("generation {} restores what stood before generation {}\n", answer["generation"], arguments.generation)),
    }
    shown
}

/// A diff in red and green, on a terminal.
pub fn coloured(diff: &str) -> String {
    let colours = output::colours(&std::io::stdout());
    let line = |line: &str| match (colours, line.as_bytes().first()) {
        (true, Some(b'+')) => format!("\u{1b}[32m{line}\u{1b}[0m\n"),
        (true, Some(b'-')) => format!("\u{1b}[31m{line}\u{1b}[0m\n"),
        _ => format!("{line}\n"),
    };
    diff.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_who_what_and_where() {
        let answer = json!({"more": true, "changes": [
            {"generation": 3, "at": "2026-01-02T12:00:00Z", "by": {"user": "anna", "manager": "kubectl", "file": null}, "note": "",
             "objects": [{"verb": "update", "kind": "VirtualService", "namespace": "default", "name": "reviews"}, {}], "live": {"total": 3, "live": 2}},
            {"generation": 2, "at": "2026-01-02T11:00:00Z", "by": {"user": "", "manager": "config-directory", "file": "./mesh"}, "note": "rolls back generation 1",
             "objects": [{"verb": "create", "kind": "Namespace", "namespace": "", "name": "shop"}], "live": {"total": 0, "superseded": 1}},
        ]});
        let shown = list(&answer);
        assert!(shown.contains("3            2026-01-02T12:00:00Z   anna (kubectl)   update VirtualService default/reviews and 1 more"), "{shown}");
        assert!(shown.contains("./mesh") && shown.contains("create Namespace shop (rolls back generation 1) "), "{shown}");
        assert!(shown.contains(" superseded\n"), "{shown}");
        assert!(shown.contains("2/3\n") && shown.ends_with("older: taut changes --before 2\n"), "{shown}");
        assert_eq!(list(&json!({"changes": []})), "Nothing was changed yet.\n");
    }
}

//! `taut get`: objects as the API's own tables, or whole as JSON or YAML.

use crate::api::{Api, collection};
use crate::apply::unknown_kind;
use crate::output::{self, Format};
use crate::place::Place;
use crate::{Failure, Outcome};
use http::Method;
use serde_json::{Value, json};
use taut_model::kinds::{self, Kind};

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut get services -A
  taut get virtualservice reviews -o yaml
  taut get services,virtualservices,httproutes")]
pub struct Arguments {
    /// Kinds, separated by commas
    kinds: String,
    /// Names; none for all
    names: Vec<String>,
    #[arg(short, long)]
    namespace: Option<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only objects with these labels, e.g. app=reviews
    #[arg(short = 'l', long)]
    selector: Option<String>,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

pub async fn get(place: &Place, arguments: Arguments) -> Outcome {
    let api = place.api()?;
    let mut whole = Vec::new();
    let mut shown = 0;
    for kind in arguments.kinds.split(',') {
        let kind = kinds::named(kind).ok_or_else(|| Failure::cannot(unknown_kind(kind)))?;
        for answer in fetch(&api, kind, &arguments).await? {
            match arguments.output {
                Format::Table => {
                    let text = render(&answer, arguments.all_namespaces && kind.namespaced);
                    if !text.is_empty() {
                        output::print(&if shown > 0 { format!("\n{text}") } else { text })?;
                        shown += 1;
                    }
                }
                Format::Json | Format::Yaml => match answer["items"].as_array() {
                    Some(items) => whole.extend(items.iter().map(|item| with_kind(item, kind))),
                    None => whole.push(answer),
                },
            }
        }
    }
    match (arguments.output, arguments.names.len(), whole.len()) {
        (Format::Table, ..) if shown == 0 => {
            eprintln!("No resources found{}.", if arguments.all_namespaces { "" } else { " in this namespace; -A looks in all" });
            Ok(())
        }
        (Format::Table, ..) => Ok(()),
        (format, 1, 1) => output::structured(format, &whole[0]),
        (format, ..) => output::structured(format, &json!({ "apiVersion": "v1", "kind": "List", "items": whole })),
    }
}

/// List items carry no kind of their own; on their own they need one.
fn with_kind(item: &Value, kind: &Kind) -> Value {
    let mut item = item.clone();
    item["apiVersion"] = kind.api_version().into();
    item["kind"] = kind.kind.into();
    item
}

async fn fetch(api: &Api, kind: &'static Kind, arguments: &Arguments) -> Outcome<Vec<Value>> {
    let namespace = match arguments.all_namespaces {
        true => None,
        false => Some(arguments.namespace.as_deref().unwrap_or_else(|| api.default_namespace())),
    };
    let accept = if arguments.output == Format::Table { TABLE } else { "application/json" };
    let base = collection(kind, namespace);
    let paths = match arguments.names.is_empty() {
        true => vec![arguments.selector.as_ref().map_or_else(|| base.clone(), |s| format!("{base}?labelSelector={}", escape(s)))],
        false => arguments.names.iter().map(|name| format!("{base}/{name}")).collect(),
    };
    let mut answers = Vec::new();
    for path in paths {
        answers.push(api.send(Method::GET, &path, "application/json", accept, Vec::new()).await?.good()?);
    }
    Ok(answers)
}

/// Percent-encodes all but unreserved characters (RFC 3986 2.3).
pub fn escape(text: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    text.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// A meta.k8s.io/v1 Table as text, columns of priority 0 only.
fn render(table: &Value, with_namespace: bool) -> String {
    let columns = table["columnDefinitions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows = table["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        return String::new();
    }
    let visible: Vec<usize> = (0..columns.len()).filter(|&i| columns[i]["priority"].as_i64().unwrap_or(0) == 0).collect();
    let mut headers: Vec<&str> = visible.iter().filter_map(|&i| columns[i]["name"].as_str()).collect();
    if with_namespace {
        headers.insert(0, "namespace");
    }
    let cell = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let body = rows.iter().map(|row| {
        let mut cells: Vec<String> = visible.iter().map(|&i| cell(&row["cells"][i])).collect();
        if with_namespace {
            cells.insert(0, cell(&row["object"]["metadata"]["namespace"]));
        }
        cells
    });
    output::table(&headers, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_the_api_reads_like_kubectls() {
        let table = json!({
            "columnDefinitions": [{ "name": "Name", "priority": 0 }, { "name": "Wide", "priority": 1 }, { "name": "Hosts", "priority": 0 }, { "name": "Age", "priority": 0 }],
            "rows": [{ "cells": ["reviews", "x", null, "5s"], "object": { "metadata": { "namespace": "default" } } }] });
        assert_eq!(render(&table, true), "NAMESPACE   NAME      HOSTS   AGE\ndefault     reviews           5s\n");
        assert_eq!(render(&json!({ "rows": [] }), false), "");
    }

    #[test]
    fn selectors_travel_escaped() {
        assert_eq!(escape("app=a b"), "app%3Da%20b");
    }
}

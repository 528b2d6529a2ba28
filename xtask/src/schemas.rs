//! `cargo xtask schemas DIR`: the schemas of `crates/model/schemas`, from CustomResourceDefinitions (`*.yaml`) and from
//! JSON Schema documents of Kubernetes' own kinds (`<full name>.json`), as `crates/model/schemas/README.md` describes.

mod experimental;
mod kubernetes;

use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;
use taut_model::kinds::{self, Kind};
use taut_model::tree;

/// Lines of the written files are at most this wide where the content allows.
const WIDTH: usize = 140;

pub fn run(source: &Path) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask has no parent directory")?;
    let target = root.join("crates/model/schemas");
    let mut files: Vec<_> =
        fs::read_dir(source).map_err(|error| format!("{}: {error}", source.display()))?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        let read = || fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()));
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("yaml") => {
                for (kind, schema) in definitions(&read()?)? {
                    write(&target, &kind.full_name(), &schema)?;
                }
            }
            Some("json") => {
                let document = serde_json::from_str(&read()?).map_err(|error| format!("{}: {error}", file.display()))?;
                write(&target, &stem, &kubernetes::schema(&document))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The storage version's schema of every definition in `text` whose kind Tautline accepts.
fn definitions(text: &str) -> Result<Vec<(&'static Kind, Value)>, String> {
    let mut found = Vec::new();
    for document in tree::documents(text, "definitions") {
        if let Some(problem) = document.problems.first() {
            return Err(problem.to_string());
        }
        let Some(definition) = document.root.map(|root| root.value()) else { continue };
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let Some(kind) = kinds::by_plural(&text(&spec["group"]), &text(&spec["names"]["plural"])) else { continue };
        let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let storage = versions.iter().find(|version| version["storage"] == true).ok_or_else(|| format!("{} has no storage version", kind.kind))?;
        if storage["name"] != kind.versions[0] {
            return Err(format!("{} is stored as {}, but kinds.rs has {} first", kind.kind, storage["name"], kind.versions[0]));
        }
        found.push((kind, storage["schema"]["openAPIV3Schema"].clone()));
    }
    Ok(found)
}

fn write(target: &Path, name: &str, schema: &Value) -> Result<(), String> {
    let mut schema = schema.clone();
    // One schema of `metadata` serves all kinds; `taut_model::schema` puts it in.
    if name != "metadata"
        && let Some(metadata) = schema.pointer_mut("/properties/metadata")
    {
        *metadata = json!({"type": "object"});
    }
    experimental::add(name, &mut schema);
    let mut text = String::new();
    print(&schema, 0, &mut text);
    text.push('\n');
    let path = target.join(format!("{name}.json"));
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

/// JSON with a value on one line where it fits: small diffs, and a tenth of the lines of the usual pretty form.
fn print(value: &Value, indent: usize, text: &mut String) {
    let line = value.to_string();
    if indent + line.len() <= WIDTH {
        return text.push_str(&line);
    }
    let children: Vec<(Option<&String>, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(key, child)| (Some(key), child)).collect(),
        Value::Array(items) => items.iter().map(|child| (None, child)).collect(),
        _ => return text.push_str(&line),
    };
    let (open, close) = if value.is_object() { ('{', '}') } else { ('[', ']') };
    text.push(open);
    for (index, (key, child)) in children.into_iter().enumerate() {
        text.push_str(if index == 0 { "\n" } else { ",\n" });
        text.extend(std::iter::repeat_n(' ', indent + 1));
        if let Some(key) = key {
            text.push_str(&format!("{}:", Value::from(key.as_str())));
        }
        print(child, indent + 1, text);
    }
    text.push('\n');
    text.extend(std::iter::repeat_n(' ', indent));
    text.push(close);
}

/// An object for `json!` values that are known to be objects.
fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

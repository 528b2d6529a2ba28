//! Mistakes and what is said about each; and manifests of other projects, which read without any.

use super::*;
use proptest::prelude::*;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

fn manifests(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.extension().and_then(|extension| extension.to_str()) {
            Some("yaml") => found.push(entry),
            _ if entry.is_dir() => manifests(&entry, found),
            _ => {}
        }
    }
}

#[test]
fn manifests_of_istio_and_gateway_api_read_without_problems() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/manifests");
    let mut files = Vec::new();
    manifests(&root, &mut files);
    files.sort();
    assert!(files.len() > 50, "{} files", files.len());
    let mut foreign = Vec::new();
    let mut objects = 0;
    for file in files {
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        let reading = yaml(&fs::read_to_string(&file).unwrap(), &name);
        objects += reading.objects.len();
        for object in &reading.objects {
            assert!(!object.name.is_empty() && object.location("metadata.name").is_some(), "{name}");
        }
        for problem in reading.problems {
            assert_eq!(problem.code, "UnknownKind", "{problem}");
            foreign.push(problem.message.split(' ').next().unwrap_or_default().to_owned());
        }
    }
    assert!(objects > 150, "{objects} objects");
    foreign.sort();
    foreign.dedup();
    assert_eq!(foreign, [r#""Certificate""#, r#""Ingress""#], "kinds of other APIs");
}

//! Planted mistakes: each file of `analyze/planted` is added to the mesh of `analyze/mesh.yaml`, in which nothing is wrong. A line's `#! CODE`
//! says what must be found on it; `#= TEXT` is what mends it (`#= -`: without the line), after which nothing may be left to find.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files whose finding does not go away: the mesh does not serve what they hold.
const STAYS: &str = "TAUT0701";

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/analyze").join(name)
}

fn taut(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_taut")).args(["analyze", "-o", "json"]).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    (output.status.code(), serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}{error}")))
}

type Found = BTreeSet<(u64, String)>;

/// Line and code of all findings in `file`; the mesh around it must stay without.
fn found(file: &Path, report: &Value) -> Found {
    let findings = report["findings"].as_array().unwrap();
    let in_file = |finding: &&Value| finding["location"]["file"].as_str().is_some_and(|at| Path::new(at) == file);
    // Who wins a conflict is told as well; what is about the mesh's own objects is no finding of the file.
    let about_file = findings.iter().filter(in_file).filter(|finding| !(finding["code"] == "TAUT0301" && finding["severity"] == "info"));
    about_file.map(|finding| (finding["location"]["line"].as_u64().unwrap(), finding["code"].as_str().unwrap().to_owned())).collect()
}

/// What a file says must be found in it, and the file with its mistakes mended.
fn planted(text: &str) -> (Found, String) {
    let (mut expected, mut mended) = (Found::new(), String::new());
    for (number, line) in text.lines().enumerate() {
        let (line, cure) = line.split_once(" #= ").map_or((line, None), |(line, cure)| (line, Some(cure)));
        let (line, codes) = line.split_once(" #! ").unwrap_or((line, ""));
        expected.extend(codes.split_whitespace().map(|code| (number as u64 + 1, code.to_owned())));
        let indent = &line[..line.len() - line.trim_start().len()];
        match cure {
            Some("-") => mended.push('\n'),
            Some(cure) => mended += &format!("{indent}{cure}\n"),
            None => mended += &format!("{line}\n"),
        }
    }
    (expected, mended)
}

fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(here("planted")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn nothing_is_wrong_in_the_mesh_that_mistakes_are_added_to() {
    let (code, report) = taut(&["--fail-on", "info", here("mesh.yaml").to_str().unwrap()]);
    assert_eq!((code, &report["findings"]), (Some(0), &Value::Array(vec![])));
}

#[test]
fn every_planted_mistake_is_found_in_its_place_and_gone_when_mended() {
    let directory = tempfile::tempdir().unwrap();
    let mesh = here("mesh.yaml");
    let mut wrong = Vec::new();
    let files = files();
    assert!(files.len() >= 30, "only {} mistakes are planted", files.len());
    for file in &files {
        let (expected, mended) = planted(&std::fs::read_to_string(file).unwrap());
        assert!(!expected.is_empty(), "{} expects nothing", file.display());
        let (_, report) = taut(&[mesh.to_str().unwrap(), file.to_str().unwrap()]);
        let got = found(file, &report);
        if got != expected {
            wrong.push(format!("{}: expected {expected:?}, found {got:?}\n{}", file.display(), messages(&report)));
        }
        for finding in report["findings"].as_array().unwrap() {
            let told = ["message", "why", "help"].iter().all(|field| finding[*field].as_str().is_some_and(|text| !text.is_empty()));
            assert!(told, "{}: {finding}", file.display());
        }
        let cured = directory.path().join(file.file_name().unwrap());
        std::fs::write(&cured, mended).unwrap();
        let (_, report) = taut(&[mesh.to_str().unwrap(), cured.to_str().unwrap()]);
        let left: Found = found(&cured, &report).into_iter().filter(|(_, code)| code != STAYS).collect();
        if !left.is_empty() {
            wrong.push(format!("{}: still there when mended: {left:?}\n{}", file.display(), messages(&report)));
        }
    }
    assert!(wrong.is_empty(), "{} of {} files:\n{}", wrong.len(), files.len(), wrong.join("\n"));
}

fn messages(report: &Value) -> String {
    let findings = report["findings"].as_array().unwrap().iter();
    findings.map(|f| format!("    {} {} {}\n", f["location"]["line"], f["code"].as_str().unwrap(), f["message"].as_str().unwrap())).collect()
}

/// A file of routes is about the services of its application, and those of Istio about the subsets that another file defines.
const BESIDE: &[(&str, &str)] = &[
    ("gateway-api/mesh/", "gateway-api/mesh/manifests.yaml"),
    ("istio-bookinfo/gateway-api/", "istio-bookinfo/platform/kube/bookinfo.yaml"),
    ("istio-bookinfo/gateway-api/", "istio-bookinfo/platform/kube/bookinfo-versions.yaml"),
    ("istio-bookinfo/networking/", "istio-bookinfo/platform/kube/bookinfo.yaml"),
    ("istio-bookinfo/networking/virtual-service-", "istio-bookinfo/networking/destination-rule-all.yaml"),
];

/// Manifests that others have published, and all that may be found in them: each line is true.
const TRUE_OF_PUBLISHED: &[(&str, &str, &str)] = &[
    ("gateway-api/mesh/grpcroute-weight.yaml", "TAUT0102", "echo-v3 is a backend of weight 0, and no manifest has it"),
    ("gateway-api/mesh/httproute-303-redirect.yaml", "TAUT0210", "only the status is set, so the client comes back"),
    ("gateway-api/mesh/httproute-307-redirect.yaml", "TAUT0210", "likewise"),
    ("gateway-api/mesh/httproute-308-redirect.yaml", "TAUT0210", "likewise"),
    ("istio-bookinfo/gateway-api/bookinfo-gateway.yaml", "TAUT0701", "a gateway, which this version does not serve"),
    ("istio-bookinfo/networking/bookinfo-gateway.yaml", "TAUT0701", "likewise"),
    ("istio-bookinfo/networking/certmanager-gateway.yaml", "TAUT0701", "likewise"),
    ("istio-bookinfo/networking/destination-rule-all.yaml", "TAUT0105", "subsets of versions that other files of the platform bring"),
    ("istio-bookinfo/networking/destination-rule-all-mtls.yaml", "TAUT0105", "likewise"),
    ("istio-bookinfo/networking/fault-injection-details-v1.yaml", "TAUT0201", "its first rule has no match"),
];

#[test]
fn nothing_false_is_found_in_published_manifests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/manifests").canonicalize().unwrap();
    let mut folders = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|extension| extension == "yaml") => files.push(path),
                false => {}
            }
        }
    }
    assert!(files.len() > 40, "the manifests are there");
    files.sort();
    let (mut unexpected, mut met) = (Vec::new(), BTreeSet::new());
    for file in &files {
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        let with = BESIDE.iter().filter(|(folder, beside)| name.starts_with(folder) && name != *beside);
        let with: Vec<String> = with.map(|(_, beside)| root.join(beside).display().to_string()).collect();
        let mut arguments: Vec<&str> = with.iter().map(String::as_str).collect();
        arguments.push(file.to_str().unwrap());
        let (_, report) = taut(&arguments);
        for finding in report["findings"].as_array().unwrap() {
            if finding["severity"] == "info" || finding["location"]["file"].as_str().is_none_or(|at| Path::new(at) != file) {
                continue;
            }
            let (code, line) = (finding["code"].as_str().unwrap(), &finding["location"]["line"]);
            let known = TRUE_OF_PUBLISHED.iter().position(|(known, of, _)| *known == name && *of == code);
            met.extend(known);
            if known.is_none() {
                unexpected.push(format!("{name}:{line} {code} {}", finding["message"].as_str().unwrap()));
            }
        }
    }
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
    let stale: Vec<_> = TRUE_OF_PUBLISHED.iter().enumerate().filter(|(index, _)| !met.contains(index)).collect();
    assert!(stale.is_empty(), "not found any more: {stale:?}");
}

#[test]
fn exit_codes_follow_what_is_to_fail() {
    let (mesh, warning) = (here("mesh.yaml"), here("planted/repeated-host.yaml"));
    let (mesh, warning) = (mesh.to_str().unwrap(), warning.to_str().unwrap());
    for (arguments, code) in [
        (vec![], 0),
        (vec!["--fail-on", "warning"], 1),
        (vec!["--fail-on", "warning", "--suppress", "TAUT0212"], 0),
        (vec!["--fail-on", "warning", "--suppress", "RepeatedHost=VirtualService default/*"], 0),
        (vec!["--fail-on", "warning", "--suppress", "TAUT0212=VirtualService reviews.default"], 0),
        (vec!["--fail-on", "warning", "--suppress", "TAUT0212=VirtualService other/*"], 1),
        (vec!["--fail-on", "never"], 0),
    ] {
        let all: Vec<&str> = arguments.iter().copied().chain([mesh, warning]).collect();
        assert_eq!(taut(&all).0, Some(code), "{arguments:?}");
    }
}

#[test]
fn an_annotation_of_the_object_suppresses() {
    let directory = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(here("planted/weights-of-110.yaml")).unwrap();
    for (annotation, expected) in
        [("tautline.dev/suppress: 'TAUT0204'", 0), ("galley.istio.io/analyze-suppress: '*'", 0), ("tautline.dev/suppress: TAUT0205", 1)]
    {
        let file = directory.path().join("x.yaml");
        std::fs::write(
            &file,
            text.replacen("metadata: { name: reviews }", &format!("metadata: {{ name: reviews, annotations: {{ {annotation} }} }}"), 1),
        )
        .unwrap();
        let (code, report) = taut(&["--fail-on", "warning", here("mesh.yaml").to_str().unwrap(), file.to_str().unwrap()]);
        assert_eq!(code, Some(expected), "{annotation}: {report}");
    }
}

//! Checks that need a whole mesh are tried by the planted mistakes of the command line's tests; here is what must hold of all of them.

use super::*;
use crate::translate::{Settings, translate};
use taut_model::read;

fn found(text: &str) -> Vec<(&'static str, String)> {
    let objects: Vec<Arc<Object>> = read::yaml(text, "mesh.yaml").objects.into_iter().map(Arc::new).collect();
    let translation = translate(&objects, &Settings { trust_domain: "cluster.local".into(), ..Settings::default() });
    lint(&objects, &translation).into_iter().map(|problem| (problem.code, problem.message)).collect()
}

#[test]
fn nothing_that_is_there_makes_it_panic() {
    for kind in ["VirtualService", "DestinationRule", "ServiceEntry", "WorkloadEntry", "Gateway", "Sidecar"] {
        for spec in ["null", "[]", "text", "{hosts: {}}", "{http: [null, 1, {match: 3}]}", "{servers: [[]]}", "{subsets: [1]}"] {
            found(&format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: x, annotations: {{}}}}\nspec: {spec}\n"));
        }
    }
}

#[test]
fn an_object_that_is_not_accepted_is_told_once() {
    let text = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: x}
spec:
  hosts: [a.example]
  http:
  - {mirror: {host: b}, route: [{destination: {host: b}}], retries: {attempts: 2, perTryTimeout: 2s, retryOn: nonsense}, timeout: 1s}
";
    let codes: Vec<&str> = found(text).into_iter().map(|(code, _)| code).collect();
    assert!(codes.iter().all(|code| ["UnsupportedValue", "InvalidValue"].contains(code)) && !codes.is_empty(), "{codes:?}");
}

#[test]
fn every_finding_has_a_code() {
    let names: Vec<&str> = CATALOGUE.iter().map(|entry| entry.name).collect();
    for (code, message) in found(include_str!("../../../../testdata/manifests/istio-bookinfo/networking/bookinfo-gateway.yaml")) {
        assert!(names.contains(&code), "{code}: {message}");
    }
}

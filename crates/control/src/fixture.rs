//! Small meshes for tests: the same services, members and subsets wherever a test needs some.

use crate::publish::Published;
use crate::store::{Store, Write};
use crate::translate::Settings;
use std::sync::Arc;
use taut_model::object::Object;

/// `reviews` with two versions, members and subsets, and `page` with one: both services of `default` at 9080.
pub fn reviews_and_page() -> String {
    [
        service("reviews", "{name: http, port: 9080}"),
        service("page", "{name: http, port: 9080}"),
        member("reviews", "v1", 1, "http: 40000"),
        member("reviews", "v2", 2, "http: 40000"),
        member("page", "v1", 3, "http: 40001"),
        SUBSETS.to_owned(),
    ]
    .concat()
}

const SUBSETS: &str = "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: default}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
";

/// A service of `default` for what is labelled `app: NAME`.
pub fn service(name: &str, ports: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\nspec: {{selector: {{app: {name}}}, ports: [{ports}]}}\n"
    )
}

/// A workload APP-VERSION of `default` with a sidecar at 127.0.0.NUMBER, whose service account is named like its app.
pub fn member(app: &str, version: &str, number: u8, ports: &str) -> String {
    entry(app, version, number, &format!(", annotations: {{tautline.dev/peer: '127.0.0.{number}:15008'}}"), ports)
}

/// The same without a sidecar.
pub fn outsider(app: &str, version: &str, number: u8) -> String {
    entry(app, version, number, "", "")
}

fn entry(app: &str, version: &str, number: u8, more: &str, ports: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {app}-{version}, namespace: default{more}}}\n\
         spec: {{address: 127.0.0.{number}, labels: {{app: {app}, version: {version}}}, ports: {{{ports}}}, serviceAccount: {app}}}\n"
    )
}

pub fn settings() -> Settings {
    Settings { trust_domain: "mesh.local".into(), ..Settings::default() }
}

pub fn objects(yaml: &str) -> Vec<Object> {
    let read = taut_model::read::yaml(yaml, "mesh.yaml");
    assert!(read.problems.is_empty(), "{:?}", read.problems);
    read.objects
}

/// The first that is published of these objects.
pub fn published(yaml: &str) -> Published {
    let objects: Vec<_> = objects(yaml).into_iter().map(Arc::new).collect();
    Published::new(&objects, 1, &settings(), &Published::default())
}

/// A store in memory that holds these objects.
pub fn stored(yaml: &str) -> Store {
    let store = Store::open(None).unwrap();
    let now = "2026-01-01T00:00:00Z".to_owned();
    let write = Write { manager: String::new(), now, uid_seed: [1; 16], places: None, status_only: false, author: None };
    for object in objects(yaml) {
        store.create(object, &write).unwrap();
    }
    store
}

//! Changes of configuration as the engine hears of them: from what the ledger, or a recording, tells of a generation.

use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;
use taut_insight::change::{Change, What};
use taut_insight::tick::Node;
use taut_model::signal::Second;

/// Objects of a generation that are named.
const MOST_NAMED: usize = 20;

/// What a generation means to the engine; `None` when it does not say when it was.
pub fn change(told: &Value) -> Option<Change> {
    let at = told["at"].as_str()?.parse::<Timestamp>().ok()?;
    let at = Second::try_from(at.as_second()).ok()?;
    let objects = || told["objects"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let named =
        objects().take(MOST_NAMED).map(|object| format!("{} {}/{}", text(&object["kind"]), text(&object["namespace"]), text(&object["name"])));
    let by = ["user", "file", "manager"].iter().map(|who| text(&told["by"][who])).find(|who| !who.is_empty()).unwrap_or_default();
    let what = What::Configuration { generation: told["generation"].as_u64().unwrap_or_default(), by, objects: named.collect() };
    let nodes: BTreeSet<Node> = objects().flat_map(mentioned).collect();
    Some(Change { at, nodes: nodes.into_iter().collect(), what })
}

/// The services that an object is about: itself, and whatever its difference names in the fields that name services.
fn mentioned(object: &Value) -> Vec<Node> {
    let namespace = object["namespace"].as_str().unwrap_or_default();
    let name = object["name"].as_str().unwrap_or_default();
    let mut nodes = vec![Node::new(namespace, name)];
    let mut hosts = false;
    for line in object["diff"].as_str().unwrap_or_default().lines() {
        let line = line.get(1..).unwrap_or_default().trim_start();
        let item = line.strip_prefix("- ");
        let line = item.unwrap_or(line);
        let (key, value) = line.split_once(':').map_or((line, ""), |(key, value)| (key, value.trim()));
        let names = matches!(key, "host" | "name" | "app" | "k8s-app" | "app.kubernetes.io/name" | "service");
        if names && !value.is_empty() {
            nodes.push(host(value, namespace));
        }
        // A list of hosts has one a line.
        let listed = item.filter(|_| hosts && key == line);
        nodes.extend(listed.map(|name| host(name, namespace)));
        hosts = (key == "hosts" && value.is_empty()) || listed.is_some();
    }
    nodes
}

/// `reviews`, `reviews.shop`, `reviews.shop.svc.cluster.local`.
fn host(text: &str, namespace: &str) -> Node {
    let text = text.trim_matches(['"', '\'']);
    let mut labels = text.split('.');
    let name = labels.next().unwrap_or_default();
    Node::new(labels.next().unwrap_or(namespace), name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_route_is_about_its_hosts() {
        let diff = "@@ -1,3 +1,9 @@\n spec:\n   hosts:\n+  - ratings\n+  - stock.shop.svc.cluster.local\n   http:\n   - route:\n     - destination:\n+        host: reviews\n         subset: v2\n";
        let object = json!({"kind": "VirtualService", "namespace": "default", "name": "slow", "diff": diff});
        let told = json!({"generation": 7, "at": "2026-01-02T03:04:05Z", "by": {"user": "ann"}, "objects": [object]});
        let change = change(&told).unwrap();
        let nodes: Vec<&str> = change.nodes.iter().map(Node::id).collect();
        assert_eq!(nodes, ["default/ratings", "default/reviews", "default/slow", "shop/stock"]);
        assert_eq!(change.what, What::Configuration { generation: 7, by: "ann".into(), objects: vec!["VirtualService default/slow".into()] });
    }
}

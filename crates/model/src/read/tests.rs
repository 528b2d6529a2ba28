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
            assert_eq!(problem.code, FOREIGN_KIND, "{problem}");
            foreign.push(problem.message.split(' ').next().unwrap_or_default().to_owned());
        }
    }
    assert!(objects > 100, "{objects} objects");
    foreign.sort();
    foreign.dedup();
    assert_eq!(foreign, ["\"Certificate\"", "\"ClusterIssuer\"", "\"Ingress\""], "kinds of other APIs");
}

#[test]
fn lists_are_taken_apart_and_items_keep_their_places() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a, namespace: shop}\n- apiVersion: v1\n  kind: Node\n  metadata: {name: b}\n  spec: {podCIDRr: x}\n";
    let reading = yaml(text, "a.yaml");
    assert_eq!(reading.objects.iter().map(|object| object.reference().to_string()).collect::<Vec<_>>(), ["Service shop/a"]);
    assert_eq!(reading.objects[0].location("metadata.name").unwrap().to_string(), "a.yaml:6:14");
    assert_eq!(reading.problems.len(), 1);
    assert_eq!(reading.problems[0].location.as_ref().unwrap().to_string(), "a.yaml:10:10");
    assert_eq!(reading.problems[0].object.as_ref().unwrap().to_string(), "Node b");
}

#[test]
fn a_problem_shows_its_line_and_the_way_out() {
    let text = "# routes\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews}\nspec:\n  hosts: [reviews]\n  http:\n  - route:\n    - destination: {host: reviews}\n      wieght: 90\n";
    let reading = yaml(text, "reviews.yaml");
    let want = "\
reviews.yaml:11:7: error[UnknownField]: unknown field \"wieght\" in spec.http[0].route[0] (VirtualService default/reviews)
     |
  11 |       wieght: 90
     |       ^^^^^^
  help: did you mean \"weight\"?";
    assert_eq!(reading.problems.iter().map(Problem::to_string).collect::<Vec<_>>(), [want]);
    assert!(reading.objects.is_empty());
}

#[test]
fn a_broken_document_hides_no_other() {
    let text =
        "a: b: c\n---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Service\nmetadata: {nam: b}\n---\n# end\n";
    let reading = yaml(text, "a.yaml");
    assert_eq!(reading.objects.len(), 1);
    assert_eq!(reading.problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["SyntaxError", "UnknownField"]);
}

#[test]
fn fields_that_are_null_are_not_set() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a, creationTimestamp: null}\nspec: {selector: , ports: [{port: 80, name: ~}]}\n";
    let reading = yaml(text, "a.yaml");
    assert_eq!(reading.problems, []);
    assert_eq!(reading.objects[0].value["spec"], json!({"ports": [{"port": 80}]}));
    assert_eq!(reading.objects[0].value["metadata"], json!({"name": "a"}));
}

#[test]
fn objects_without_a_text_are_checked_alike() {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"generateName": "a-"}, "spec": {"ports": [{"port": 80}]}});
    let object = super::json(service).unwrap();
    assert_eq!((object.name.as_str(), object.namespace.as_str(), object.places.is_none()), ("", "default", true));
    let problems = super::json(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"prots": []}})).unwrap_err();
    assert_eq!((problems[0].code, problems[0].path.as_str()), ("UnknownField", "spec.prots"));
    assert_eq!(problems[0].object.as_ref().unwrap().to_string(), "Service default/a");
    for odd in [json!(null), json!([]), json!("x"), json!({}), json!({"kind": 1}), json!({"apiVersion": "v1", "kind": {}})] {
        assert_eq!(super::json(odd).unwrap_err().len(), 1);
    }
}

#[test]
fn no_line_of_a_secret_is_shown() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata:\n  password: hunter2\n";
    let reading = yaml(text, "a.yaml");
    assert_eq!(reading.problems.len(), 1);
    assert!(!reading.problems[0].to_string().contains("hunter2"), "{}", reading.problems[0]);
    let broken = yaml("kind: Secret\ndata:\n  password: \"hunter2\n", "a.yaml");
    assert!(!broken.problems[0].to_string().contains("hunter2"), "{}", broken.problems[0]);
}

#[test]
fn long_lines_are_cut_around_the_caret() {
    let text = format!("apiVersion: v1\nkind: Service\nmetadata: {{name: a, annotations: {{x: {:?}}}, labls: {{}}}}\n", "y".repeat(5000));
    let problem = yaml(&text, "a.yaml").problems.remove(0);
    let excerpt = problem.excerpt.unwrap();
    assert!(excerpt.lines().all(|line| line.chars().count() < 120), "{excerpt}");
    let lines: Vec<&str> = excerpt.lines().collect();
    assert_eq!(lines[1].find("labls"), lines[2].find('^'));
}

proptest! {
    #[test]
    fn arbitrary_text_is_read_or_refused(text in "\\PC{0,200}") {
        yaml(&text, "a.yaml");
    }

    #[test]
    fn arbitrary_objects_are_read_or_refused(parts in proptest::collection::vec(proptest::sample::select(vec![
        "apiVersion: v1\n", "apiVersion: networking.istio.io/v1\n", "kind: Service\n", "kind: VirtualService\n", "kind: Secret\n", "kind: List\n", "items:\n",
        "metadata:\n", "  name: a\n", "  labels: {a: 1, b: ~}\n", "spec:\n", "  http:\n", "  - route: []\n", "  ports:\n", "  - port: 1\n", "data: {a: b}\n", "---\n",
        "  hosts: [é, 2]\n", "\t", "- ", "  ", "\r\n", "'", "?"]), 0..25)) {
        let text = parts.concat();
        let reading = yaml(&text, "a.yaml");
        for problem in &reading.problems {
            let location = problem.location.as_ref().expect("every problem has a place");
            prop_assert!(location.line >= 1 && location.column >= 1);
        }
    }
}

/// What only other meshes have is refused by its name, and never stored as if it did something.
#[test]
fn kinds_of_other_meshes_are_refused_by_name() {
    for (api, kind) in [
        ("networking.istio.io/v1alpha3", "EnvoyFilter"),
        ("networking.istio.io/v1beta1", "ProxyConfig"),
        ("extensions.istio.io/v1alpha1", "WasmPlugin"),
        ("extensions.istio.io/v1alpha1", "TrafficExtension"),
        ("policy.linkerd.io/v1alpha1", "HTTPLocalRateLimitPolicy"),
        ("policy.linkerd.io/v1alpha1", "EgressNetwork"),
        ("linkerd.io/v1alpha2", "ServiceProfile"),
        ("kuma.io/v1alpha1", "MeshFaultInjection"),
        ("kuma.io/v1alpha1", "MeshRateLimit"),
        ("kuma.io/v1alpha1", "MeshRetry"),
        ("kuma.io/v1alpha1", "MeshTimeout"),
        ("kuma.io/v1alpha1", "MeshCircuitBreaker"),
        ("kuma.io/v1alpha1", "MeshProxyPatch"),
        ("kuma.io/v1alpha1", "MeshGlobalRateLimit"),
        ("consul.hashicorp.com/v1alpha1", "ServiceDefaults"),
        ("consul.hashicorp.com/v1alpha1", "ProxyDefaults"),
        ("consul.hashicorp.com/v1alpha1", "RouteExtProcFilter"),
        ("gateway.envoyproxy.io/v1alpha1", "BackendTrafficPolicy"),
        ("appmesh.k8s.aws/v1beta2", "VirtualRouter"),
    ] {
        let reading = yaml(&format!("apiVersion: {api}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{x: 1}}\n"), "a.yaml");
        let codes: Vec<_> = reading.problems.iter().map(|problem| (problem.code, problem.severity)).collect();
        assert_eq!((codes, reading.objects.len()), (vec![("UnknownKind", Severity::Error)], 0), "{kind}");
        assert!(reading.problems[0].message.contains(kind), "{}", reading.problems[0]);
    }
}

#[test]
fn what_is_refused_is_told_with_the_kind_that_was_meant() {
    let object = |api: &str, kind: &str| format!("apiVersion: {api}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{rulez: []}}\n---\n");
    let text = object("security.istio.io/v1", "AuthorizationPolicy")
        + &object("security.istio.io/v9", "PeerAuthentication")
        + &object("security.istio.io/v1", "AuthorizationPolcy")
        + &object("example.com/v1", "AuthorizationPolicy");
    let reading = yaml(&text, "a.yaml");
    let refused: Vec<_> = reading.refused.iter().map(|object| (object.kind.kind, object.name.as_str())).collect();
    assert_eq!(refused, [("AuthorizationPolicy", "a"), ("PeerAuthentication", "a"), ("AuthorizationPolicy", "a")]);
    assert_eq!((reading.objects.len(), reading.refused[1].location("metadata.name").unwrap().line), (0, 8));
}

//! The API over its router, without sockets: what `kubectl` does not ask for, and what it must not get.

use super::*;
use axum::body::Body;
use serde_json::{Value, json};
use tower::ServiceExt;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ROUTES: &str = "/apis/networking.istio.io/v1/namespaces/default/virtualservices";
const NOW: &str = "2026-01-02T03:04:05Z";

struct Answered {
    code: u16,
    body: Value,
    text: String,
}

fn api() -> Arc<Api> {
    let rolls = std::sync::atomic::AtomicU8::new(0);
    let api = Api {
        store: Store::open(None).expect("memory"),
        admit: Arc::new(|_| Vec::new()),
        clock: Arc::new(|| NOW.to_owned()),
        dice: Arc::new(move || [rolls.fetch_add(1, std::sync::atomic::Ordering::Relaxed); 16]),
        authenticate: Arc::new(|token| match token {
            Some("good") => Ok(User { name: "tester".to_owned(), may: Arc::new(|method, kind| *method == Method::GET && kind.kind != "Secret") }),
            Some(_) => Err("this token is not known".to_owned()),
            None => Err("there is no bearer token".to_owned()),
        }),
        external: External { metrics: &["taut_rate", "taut_room"], measure: Box::new(measured) },
    };
    seed(&api).expect("seeded");
    Arc::new(api)
}

fn measured(namespace: &str) -> Vec<Measured> {
    let value = |metric, service: &str, horizon: u64, bound: &str, value| {
        let labels = vec![("service", service.to_owned()), ("horizon_seconds", horizon.to_string()), ("bound", bound.to_owned())];
        Measured { metric, labels, value }
    };
    let bounds = [("low95", 2.0), ("mean", 4.4), ("high95", 8.0)];
    let rates = bounds.iter().flat_map(|(bound, rate)| [600, 3600].map(|horizon| value("taut_rate", "reviews", horizon, bound, *rate)));
    let all = rates.chain([value("taut_rate", "ratings", 600, "mean", 1.0), value("taut_room", "reviews", 600, "mean", 0.5)]);
    all.filter(|_| namespace == "shop").collect()
}

async fn send(api: &Arc<Api>, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answered {
    let mut request = Request::builder().method(method).uri(path).header("authorization", "Bearer good");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router(api.clone()).oneshot(request.body(body.into()).expect("a request")).await.expect("an answer");
    let code = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 24).await.expect("a body");
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    Answered { code, body: serde_json::from_str(&text).unwrap_or_default(), text }
}

async fn get(api: &Arc<Api>, path: &str) -> Answered {
    send(api, "GET", path, &[], Body::empty()).await
}

async fn post(api: &Arc<Api>, path: &str, body: &Value) -> Answered {
    send(api, "POST", path, &[("content-type", "application/json"), ("user-agent", "tool/1.0 (x)")], body.to_string()).await
}

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": {"app": name}}, "spec": {"ports": [{"port": 80}]}})
}

fn route(name: &str) -> Value {
    let http = json!([{"route": [{"destination": {"host": "reviews"}}]}]);
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name}, "spec": {"hosts": ["reviews"], "http": http}})
}

#[tokio::test]
async fn nobody_gets_in_without_a_token() {
    let api = api();
    for authorization in ["Bearer bad", "Basic Z29vZA==", ""] {
        let request = Request::get(SERVICES).header("authorization", authorization).body(Body::empty()).expect("a request");
        let response = router(api.clone()).oneshot(request).await.expect("an answer");
        assert_eq!(response.status(), 401, "{authorization}");
    }
    let open = Request::get("/readyz").body(Body::empty()).expect("a request");
    assert_eq!(router(api).oneshot(open).await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn refusals_have_the_codes_of_kubernetes() {
    let api = api();
    assert_eq!(post(&api, SERVICES, &service("a")).await.code, 201);
    let json_type = ("content-type", "application/json");
    let big = "x".repeat((3 << 20) + 1);
    for (method, path, headers, body, code, reason) in [
        ("GET", "/nothing", vec![], "", 404, "NotFound"),
        ("GET", "/api/v1/namespaces/default/services/b", vec![], "", 404, "NotFound"),
        ("POST", "/api/v1/services", vec![json_type], "{}", 405, "MethodNotAllowed"),
        ("POST", "/apis", vec![json_type], "{}", 405, "MethodNotAllowed"),
        ("GET", SERVICES, vec![("accept", "application/vnd.kubernetes.protobuf")], "", 406, "NotAcceptable"),
        ("POST", SERVICES, vec![("content-type", "text/html")], "{}", 415, "UnsupportedMediaType"),
        ("PATCH", "/api/v1/namespaces/default/services/a", vec![json_type], "{}", 415, "UnsupportedMediaType"),
        ("POST", SERVICES, vec![json_type], "{\"a\": 1, \"a\": 2}", 400, "BadRequest"),
        ("POST", SERVICES, vec![json_type], "[]", 400, "BadRequest"),
        ("POST", SERVICES, vec![json_type], &big, 413, "RequestEntityTooLarge"),
        ("GET", "/api/v1/services?watch=1&sendInitialEvents=true", vec![], "", 400, "BadRequest"),
        ("GET", "/api/v1/services?resourceVersion=x", vec![], "", 400, "BadRequest"),
        ("GET", "/api/v1/services?watch=1&resourceVersion=0x", vec![], "", 400, "BadRequest"),
        ("GET", "/api/v1/services?watch=1&resourceVersion=100", vec![], "", 410, "Expired"),
        ("POST", "/api/v1/namespaces/default/services?dryRun=Some", vec![json_type], "{}", 400, "BadRequest"),
        ("PATCH", "/api/v1/namespaces/default/services/a", vec![("content-type", "application/apply-patch+yaml")], "a: 1", 400, "BadRequest"),
    ] {
        let answered = send(&api, method, path, &headers, body.to_owned()).await;
        assert_eq!((answered.code, answered.body["reason"].as_str()), (code, Some(reason)), "{method} {path}: {}", answered.text);
        assert_eq!(answered.body["code"], code);
    }
}

#[tokio::test]
async fn an_object_belongs_where_it_is_sent() {
    let api = api();
    let mut elsewhere = service("a");
    elsewhere["metadata"]["namespace"] = json!("other");
    assert_eq!(post(&api, SERVICES, &elsewhere).await.code, 400);
    assert_eq!(post(&api, SERVICES, &route("a")).await.code, 400);
    let missing = post(&api, "/api/v1/namespaces/other/services", &service("a")).await;
    assert_eq!((missing.code, &missing.body["message"]), (404, &json!(r#"namespaces "other" not found"#)));
    let mut versioned = service("a");
    versioned["metadata"]["resourceVersion"] = json!("1");
    assert_eq!(post(&api, SERVICES, &versioned).await.code, 400);
    let mut renamed = service("b");
    post(&api, SERVICES, &service("a")).await;
    let put = |body: Value| send(&api, "PUT", "/api/v1/namespaces/default/services/a", &[("content-type", "application/json")], body.to_string());
    assert_eq!(put(renamed.clone()).await.code, 400);
    renamed["metadata"] = json!({"name": "a", "uid": "another"});
    assert_eq!(put(renamed).await.code, 409);
}

#[tokio::test]
async fn yaml_and_generated_names_are_taken() {
    let api = api();
    let yaml = "apiVersion: v1\nkind: Service\nmetadata: {generateName: web-}\nspec: {ports: [{port: 80}]}\n";
    let made = send(&api, "POST", SERVICES, &[("content-type", "application/yaml"), ("user-agent", "tool/1.0 (x)")], yaml).await;
    let name = made.body["metadata"]["name"].as_str().unwrap_or_default();
    assert_eq!((made.code, name.len()), (201, "web-".len() + 5), "{}", made.text);
    assert!(name.starts_with("web-"));
    assert_eq!(made.body["metadata"]["managedFields"][0]["manager"], "tool");
    assert_eq!(made.body["spec"]["ports"][0], json!({"port": 80, "protocol": "TCP", "targetPort": 80}));
}

#[tokio::test]
async fn status_and_specification_have_doors_of_their_own() {
    let api = api();
    let mut with_status = route("a");
    with_status["status"] = json!({"observedGeneration": "7"});
    let made = post(&api, ROUTES, &with_status).await;
    assert_eq!((made.code, made.body.get("status")), (201, None), "{}", made.text);
    let mut both = route("a");
    both["spec"]["hosts"] = json!(["changed"]);
    both["status"] = json!({"conditions": [{"type": "Live", "status": "True"}]});
    let put =
        |path: String, body: &Value| send(&api, "PUT", Box::leak(path.into_boxed_str()), &[("content-type", "application/json")], body.to_string());
    let status = put(format!("{ROUTES}/a/status"), &both).await;
    assert_eq!((status.code, &status.body["spec"]["hosts"][0]), (200, &json!("reviews")), "{}", status.text);
    assert_eq!(status.body["status"]["conditions"][0]["type"], "Live");
    both["status"] = json!({});
    let specification = put(format!("{ROUTES}/a"), &both).await;
    assert_eq!((specification.code, &specification.body["spec"]["hosts"][0]), (200, &json!("changed")));
    assert_eq!(specification.body["status"]["conditions"][0]["type"], "Live");
    assert_eq!(specification.body["metadata"]["generation"], 2);
}

#[tokio::test]
async fn lists_come_as_metadata_and_tables_too() {
    let api = api();
    post(&api, SERVICES, &service("a")).await;
    post(&api, SERVICES, &service("b")).await;
    let partial = [("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json")];
    let list = send(&api, "GET", "/api/v1/services?labelSelector=app%3Da", &partial, Body::empty()).await;
    assert_eq!((list.body["kind"].as_str(), list.body["items"].as_array().map(Vec::len)), (Some("PartialObjectMetadataList"), Some(1)));
    assert!(list.body["items"][0].get("spec").is_none());
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")];
    let list = send(&api, "GET", "/api/v1/services?includeObject=None", &table, Body::empty()).await;
    let columns = list.body["columnDefinitions"].as_array().map(Vec::len);
    assert_eq!(list.body["rows"][0]["cells"].as_array().map(Vec::len), columns);
    assert!(list.body["rows"][0].get("object").is_none());
    assert_eq!(list.body["metadata"]["resourceVersion"], api.store.version().to_string());
}

#[tokio::test]
async fn deletion_asks_for_what_it_was_promised() {
    let api = api();
    let made = post(&api, SERVICES, &service("a")).await;
    let delete =
        |body: Value| send(&api, "DELETE", "/api/v1/namespaces/default/services/a", &[("content-type", "application/json")], body.to_string());
    assert_eq!(delete(json!({"preconditions": {"uid": "another"}})).await.code, 409);
    assert_eq!(delete(json!({"dryRun": ["All"]})).await.code, 200);
    let gone = delete(json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"})).await;
    assert_eq!((gone.code, &gone.body["details"]["uid"]), (200, &made.body["metadata"]["uid"]));
    for name in ["a", "b", "c"] {
        post(&api, SERVICES, &service(name)).await;
    }
    let some = send(&api, "DELETE", "/api/v1/namespaces/default/services?labelSelector=app+in+(a,b)", &[], Body::empty()).await;
    assert_eq!((some.code, some.body["items"].as_array().map(Vec::len)), (200, Some(2)));
    assert_eq!(get(&api, SERVICES).await.body["items"][0]["metadata"]["name"], "c");
}

#[tokio::test(start_paused = true)]
async fn a_watch_says_what_enters_and_leaves_its_selection() {
    let api = api();
    post(&api, SERVICES, &service("a")).await;
    let from = api.store.version();
    post(&api, SERVICES, &service("b")).await;
    let relabel = |name: &str, app: &str| {
        let path = format!("{SERVICES}/{name}");
        let patch = json!({"metadata": {"labels": {"app": app}}}).to_string();
        let api = api.clone();
        async move { send(&api, "PATCH", &path, &[("content-type", "application/merge-patch+json")], patch).await }
    };
    assert_eq!(relabel("a", "b").await.code, 200);
    assert_eq!(relabel("b", "x").await.code, 200);
    let path = format!("/api/v1/services?watch=1&resourceVersion={from}&labelSelector=app%3Db&timeoutSeconds=90&allowWatchBookmarks=true");
    let events = get(&api, &path).await.text;
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let seen: Vec<(&str, &str)> = events
        .iter()
        .map(|event| (event["type"].as_str().unwrap_or_default(), event["object"]["metadata"]["name"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(seen, [("ADDED", "b"), ("ADDED", "a"), ("DELETED", "b"), ("BOOKMARK", "")]);
    assert_eq!(events[3]["object"]["metadata"]["resourceVersion"], api.store.version().to_string());
}

#[tokio::test]
async fn every_version_has_its_document_and_every_kind_a_schema() {
    let api = api();
    let index = get(&api, "/openapi/v3").await.body;
    for (path, entry) in index["paths"].as_object().expect("paths") {
        let document = get(&api, entry["serverRelativeURL"].as_str().expect("a URL")).await.body;
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        let resources = get(&api, &format!("/{path}")).await.body;
        for resource in resources["resources"].as_array().expect("resources").iter().filter(|resource| resource["singularName"] != "") {
            let is_of = |schema: &&Value| schema["x-kubernetes-group-version-kind"][0]["kind"] == resource["kind"];
            let schema = schemas.values().find(is_of).expect("a schema");
            assert_eq!(schema["properties"]["metadata"]["allOf"][0]["$ref"], "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
        }
        let patches = document["paths"].as_object().expect("paths").values().filter_map(|path| path.get("patch"));
        for patch in patches {
            let names: Vec<&Value> = patch["parameters"].as_array().expect("parameters").iter().map(|parameter| &parameter["name"]).collect();
            assert!(names.contains(&&json!("fieldValidation")) && names.contains(&&json!("dryRun")));
        }
    }
}

#[tokio::test]
async fn a_change_that_the_mesh_cannot_carry_out_leaves_the_last_good_version() {
    let mut api = api();
    Arc::get_mut(&mut api).expect("nobody else has it").admit = Arc::new(crate::translate::admit);
    let good = post(&api, ROUTES, &route("a")).await;
    assert_eq!(good.code, 201, "{}", good.text);
    let mut wanted = route("a");
    wanted["spec"]["http"][0]["retries"] = json!({"attempts": 1, "retryOn": "http3-post-connect-failure"});
    let path = format!("{ROUTES}/a");
    let refused = send(&api, "PUT", &path, &[("content-type", "application/json")], wanted.to_string()).await;
    assert_eq!(refused.code, 422, "{}", refused.text);
    assert!(
        refused.text.contains("spec.http[0].retries.retryOn: the condition \\\"http3-post-connect-failure\\\" is not supported"),
        "{}",
        refused.text
    );
    let now = get(&api, &path).await;
    assert_eq!((&now.body["spec"], &now.body["metadata"]["generation"]), (&good.body["spec"], &json!(1)));
}

#[tokio::test]
async fn an_autoscaler_gets_what_is_forecast() {
    let api = api();
    const EXTERNAL: &str = "/apis/external.metrics.k8s.io";
    let groups = get(&api, "/apis").await.body;
    assert!(groups["groups"].as_array().unwrap().iter().any(|group| group["preferredVersion"]["groupVersion"] == "external.metrics.k8s.io/v1beta1"));
    assert_eq!(get(&api, EXTERNAL).await.body["versions"][0]["version"], "v1beta1");
    let resources = get(&api, &format!("{EXTERNAL}/v1beta1")).await.body;
    assert_eq!((&resources["resources"][0]["name"], &resources["resources"][0]["namespaced"]), (&json!("taut_rate"), &json!(true)));
    // All values are added up by autoscalers, so that one service's is one value.
    let of_reviews = format!("{EXTERNAL}/v1beta1/namespaces/shop/taut_rate?labelSelector=service%3Dreviews");
    let labels = json!({"service": "reviews", "horizon_seconds": "600", "bound": "mean"});
    let item = json!({"metricName": "taut_rate", "metricLabels": labels, "timestamp": NOW, "value": "4400m"});
    let list = json!({"kind": "ExternalMetricValueList", "apiVersion": "external.metrics.k8s.io/v1beta1", "metadata": {}, "items": [item]});
    assert_eq!(get(&api, &of_reviews).await.body, list);
    let named = get(&api, &format!("{of_reviews}%2Cbound%3Dhigh95%2Chorizon_seconds%20in%20(600%2C3600)")).await.body;
    let values: Vec<&str> = named["items"].as_array().unwrap().iter().filter_map(|item| item["value"].as_str()).collect();
    assert_eq!(values, ["8000m", "8000m"]);
    assert_eq!(get(&api, &format!("{EXTERNAL}/v1beta1/namespaces/other/taut_rate")).await.body["items"], json!([]));
    let unknown = get(&api, &format!("{EXTERNAL}/v1beta1/namespaces/shop/cpu")).await;
    assert_eq!((unknown.code, unknown.body["message"].as_str().unwrap().contains("taut_rate, taut_room")), (404, true));
    assert_eq!(send(&api, "POST", &of_reviews, &[], Body::empty()).await.code, 405);
}

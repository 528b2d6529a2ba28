//! Stock `kubectl` against the API, through every verb that users of a mesh need.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use taut_control::{api, store::Store};
use taut_model::object::Object;
use taut_model::problem::{Problem, Severity};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// No command takes a second on an idle machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// A control plane's API on loopback, and a kubectl that knows it.
struct Mesh {
    server: String,
    /// kubectl's discovery cache.
    directory: tempfile::TempDir,
}

struct Said {
    ok: bool,
    out: String,
    err: String,
}

impl Mesh {
    /// `None`, and a line that says so, on a machine without kubectl.
    async fn start() -> Option<Mesh> {
        if Command::new("kubectl").args(["version", "--client"]).stdout(Stdio::null()).stderr(Stdio::null()).status().await.is_err() {
            eprintln!("skipped: there is no kubectl in PATH");
            return None;
        }
        let api = Arc::new(api::Api {
            store: Store::open(None).expect("memory"),
            admit: Arc::new(admit),
            clock: Arc::new(|| jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            dice: Arc::new(|| std::array::from_fn(|_| fastrand::u8(..))),
            authenticate: Arc::new(|_| Ok(taut_control::api::User { name: "tester".to_owned(), may: Arc::new(|_, _| true) })),
            external: api::External::default(),
        });
        api::seed(&api).expect("seeded");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, api::router(api)).await });
        Some(Mesh { server, directory: tempfile::tempdir().expect("a directory") })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.arg(format!("--server={}", self.server)).arg(format!("--cache-dir={}", self.directory.path().display()));
        command.args(arguments).env("KUBECONFIG", "/dev/null").env("HOME", self.directory.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    async fn run(&self, command: &mut Command, input: &str) -> Said {
        let mut child = command.spawn().expect("kubectl starts");
        let mut stdin = child.stdin.take().expect("piped");
        if !input.is_empty() {
            stdin.write_all(input.as_bytes()).await.expect("written");
        }
        drop(stdin);
        let output = tokio::time::timeout(DEADLINE, child.wait_with_output()).await.expect("kubectl ends in time").expect("kubectl ran");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Said { ok: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// What `kubectl` prints; the test fails if `kubectl` does.
    async fn ok(&self, arguments: &[&str]) -> String {
        self.pipe(arguments, "").await
    }

    async fn pipe(&self, arguments: &[&str], input: &str) -> String {
        let said = self.run(&mut self.command(arguments), input).await;
        assert!(said.ok, "kubectl {arguments:?}: {}{}", said.out, said.err);
        said.out
    }

    /// What `kubectl` complains of; the test fails if it does not.
    async fn fails(&self, arguments: &[&str], input: &str) -> String {
        let said = self.run(&mut self.command(arguments), input).await;
        assert!(!said.ok, "kubectl {arguments:?} should fail: {}", said.out);
        said.err
    }

    /// A `kubectl` that goes on, line by line.
    fn follow(&self, arguments: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
        let mut child = self.command(arguments).spawn().expect("kubectl starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        (child, lines)
    }
}

/// Stands for the mesh's own admission: a host of example.com is odd, one of example.net is refused.
fn admit(object: &Object) -> Vec<Problem> {
    let hosts = object.value["spec"]["hosts"].to_string();
    let problem = |severity, message: &str| Problem {
        severity,
        code: "UnsupportedValue",
        object: Some(object.reference()),
        path: "spec.hosts".into(),
        location: None,
        message: message.into(),
        help: None,
        excerpt: None,
    };
    match () {
        () if hosts.contains("example.net") => vec![problem(Severity::Error, "example.net is not supported")],
        () if hosts.contains("example.com") => vec![problem(Severity::Warning, "no service is called \"example.com\"")],
        () => Vec::new(),
    }
}

fn manifest(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/manifests/istio-bookinfo").join(name);
    assert!(path.exists(), "{} is there", path.display());
    path.display().to_string()
}

async fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    tokio::time::timeout(DEADLINE, lines.next_line()).await.expect("a line in time").expect("readable").expect("a line")
}

const REVIEWS: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, labels: {app: reviews}}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews, subset: v1}}]}]
";

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  selector: {app: reviews}
  ports: [{name: http, port: 9080}, {name: metrics, port: 9090}]
";

#[tokio::test]
async fn discovery_names_every_kind() {
    let Some(mesh) = Mesh::start().await else { return };
    let resources = mesh.ok(&["api-resources"]).await;
    for kind in taut_model::kinds::KINDS {
        assert!(resources.lines().any(|line| line.starts_with(kind.plural) && line.ends_with(kind.kind)), "{}", kind.kind);
    }
    let versions = mesh.ok(&["api-versions"]).await;
    for version in ["v1", "networking.istio.io/v1", "gateway.networking.k8s.io/v1"] {
        assert!(versions.lines().any(|line| line == version), "{version}");
    }
    assert!(mesh.ok(&["version"]).await.contains("Server Version: v1.32"));
    assert_eq!(mesh.ok(&["get", "--raw", "/readyz"]).await, "ok");
    // Clients that do not know aggregated discovery read the old form.
    assert!(mesh.ok(&["get", "--raw", "/apis/networking.istio.io/v1"]).await.contains("virtualservices/status"));
}

#[tokio::test]
async fn bookinfo_is_applied_and_shown() {
    let Some(mesh) = Mesh::start().await else { return };
    for file in ["networking/virtual-service-all-v1.yaml", "networking/destination-rule-all.yaml", "platform/kube/bookinfo.yaml"] {
        let first = mesh.ok(&["apply", "-f", &manifest(file)]).await;
        assert!(first.lines().all(|line| line.ends_with(" created")), "{first}");
        let second = mesh.ok(&["apply", "-f", &manifest(file)]).await;
        assert!(second.lines().all(|line| line.ends_with(" unchanged")), "{second}");
    }
    let route = manifest("gateway-api/route-reviews-90-10.yaml");
    assert!(mesh.ok(&["apply", "--server-side", "-f", &route]).await.contains("serverside-applied"));

    let table = mesh.ok(&["get", "virtualservices,httproutes,services", "-A"]).await;
    for text in ["virtualservice.networking.istio.io/reviews", "httproute.gateway.networking.k8s.io/reviews", "service/reviews", "HOSTS", "AGE"] {
        assert!(table.contains(text), "{text} in {table}");
    }
    assert_eq!(mesh.ok(&["get", "svc", "-l", "app=reviews", "-o", "name"]).await, "service/reviews\n");
    assert_eq!(mesh.ok(&["get", "vs", "--field-selector", "metadata.name=ratings", "-o", "name"]).await.lines().count(), 1);
    assert_eq!(mesh.ok(&["get", "vs", "-n", "kube-system", "-o", "name"]).await, "");
    assert!(mesh.ok(&["get", "svc", "reviews", "-o", "wide"]).await.contains("9080"));
    assert!(mesh.ok(&["get", "vs", "reviews", "-o", "yaml"]).await.contains("subset: v1"));
    assert!(mesh.ok(&["get", "vs", "reviews", "-o", "json"]).await.contains(r#""subset": "v1""#));
    assert!(mesh.ok(&["describe", "virtualservice", "reviews"]).await.contains("v1"));
    assert!(mesh.ok(&["describe", "service", "reviews"]).await.contains("9080/TCP"));
    let old = mesh.ok(&["get", "virtualservices.v1alpha3.networking.istio.io", "reviews", "-o", "jsonpath={.apiVersion}"]).await;
    assert_eq!(old, "networking.istio.io/v1alpha3");
    assert_eq!(mesh.ok(&["delete", "vs", "--all"]).await.lines().count(), 4);
    assert!(mesh.ok(&["delete", "-f", &manifest("platform/kube/bookinfo.yaml"), "--cascade=foreground"]).await.contains("deleted"));
    assert_eq!(mesh.ok(&["get", "svc,deploy,sa", "-o", "name"]).await, "");
}

#[tokio::test]
async fn explain_knows_the_schemas() {
    let Some(mesh) = Mesh::start().await else { return };
    assert!(mesh.ok(&["explain", "virtualservice.spec.http"]).await.contains("corsPolicy"));
    assert!(mesh.ok(&["explain", "service.spec.ports.targetPort"]).await.contains("FIELD: targetPort"));
    assert!(mesh.ok(&["explain", "httproute.metadata.labels"]).await.contains("map[string]string"));
    assert!(mesh.ok(&["explain", "authorizationpolicy", "--recursive"]).await.contains("principals"));
}

#[tokio::test]
async fn mistakes_are_named_with_their_fields() {
    let Some(mesh) = Mesh::start().await else { return };
    let typo = REVIEWS.replace("subset", "subst");
    for way in [&["apply", "-f", "-"][..], &["apply", "--server-side", "-f", "-"], &["create", "--validate=ignore", "-f", "-"]] {
        let error = mesh.fails(way, &typo).await;
        assert!(
            error.contains(r#"unknown field "spec.http[0].route[0].destination.subst""#) && error.contains(r#"did you mean "subset"?"#),
            "{error}"
        );
    }
    let two = REVIEWS.replace("[reviews]", "5").replace("v1}}", "v1}, weight: heavy}");
    let error = mesh.fails(&["apply", "-f", "-"], &two).await;
    assert!(error.contains("* spec.hosts:") && error.contains("* spec.http[0].route[0].weight:"), "{error}");
    assert!(mesh.fails(&["apply", "-f", "-"], &REVIEWS.replace("[reviews]", "[a.example.net]")).await.contains("example.net is not supported"));
    let warned = mesh.run(&mut mesh.command(&["apply", "-f", "-"]), &REVIEWS.replace("[reviews]", "[a.example.com]")).await;
    assert!(warned.ok && warned.err.contains(r#"Warning: spec.hosts: no service is called "example.com""#), "{}", warned.err);
    assert!(mesh.fails(&["create", "-f", "-"], REVIEWS).await.contains("already exists"));
    assert!(mesh.fails(&["get", "vs", "nothing"], "").await.contains(r#"virtualservices.networking.istio.io "nothing" not found"#));
    assert!(mesh.fails(&["apply", "-n", "nowhere", "-f", "-"], REVIEWS).await.contains(r#"namespaces "nowhere" not found"#));
    assert!(mesh.fails(&["get", "vs", "--field-selector", "spec.hosts=a"], "").await.contains("field label not supported: spec.hosts"));
}

#[tokio::test]
async fn patch_replace_edit_and_diff_work() {
    let Some(mesh) = Mesh::start().await else { return };
    mesh.pipe(&["create", "-f", "-"], SERVICE).await;
    mesh.pipe(&["create", "-f", "-"], REVIEWS).await;
    let ports = async || mesh.ok(&["get", "svc", "reviews", "-o", "jsonpath={.spec.ports[*].name} {.spec.ports[*].targetPort}"]).await;
    assert_eq!(ports().await, "http metrics 9080 9090", "the target port is the port by default");
    mesh.ok(&["patch", "svc", "reviews", "-p", r#"{"spec":{"ports":[{"port":9090,"name":"stats"}]}}"#]).await;
    assert_eq!(ports().await, "http stats 9080 9090", "a strategic patch finds a port by its number");
    mesh.ok(&["patch", "svc", "reviews", "--type=json", "-p", r#"[{"op":"remove","path":"/spec/ports/0"}]"#]).await;
    assert_eq!(ports().await, "stats 9090");
    mesh.ok(&["patch", "svc", "reviews", "--type=merge", "-p", r#"{"spec":{"ports":[{"name":"x","port":1}]}}"#]).await;
    assert_eq!(ports().await, "x 1");
    let stale = mesh.fails(&["patch", "svc", "reviews", "--type=merge", "-p", r#"{"metadata":{"resourceVersion":"1"}}"#], "").await;
    assert!(stale.contains("the object has been modified"), "{stale}");

    assert!(mesh.pipe(&["replace", "-f", "-"], SERVICE).await.contains("replaced"));
    assert_eq!(ports().await, "http metrics 9080 9090");
    for (kind, from, to) in [("svc", "name: metrics", "name: edited"), ("vs", "subset: v1", "subset: edited")] {
        let edited = mesh.run(mesh.command(&["edit", kind, "reviews"]).env("EDITOR", format!("sed -i 's/{from}/{to}/'")), "").await;
        assert!(edited.ok && edited.out.contains("edited"), "{}{}", edited.out, edited.err);
        assert!(mesh.ok(&["get", kind, "reviews", "-o", "yaml"]).await.contains(to));
    }
    mesh.ok(&["label", "vs", "reviews", "team=web"]).await;
    mesh.ok(&["annotate", "svc", "reviews", "note=hello"]).await;

    let version = async || mesh.ok(&["get", "vs", "reviews", "-o", "jsonpath={.metadata.resourceVersion}"]).await;
    let before = version().await;
    let changed = REVIEWS.replace("v1}", "v2}");
    let diff = mesh.run(&mut mesh.command(&["diff", "-f", "-"]), &changed).await;
    assert!(!diff.ok && diff.out.contains("subset: v2"), "{}{}", diff.out, diff.err);
    mesh.pipe(&["apply", "--dry-run=server", "-f", "-"], &changed).await;
    assert_eq!(version().await, before, "a dry run changes nothing");
}

#[tokio::test]
async fn server_side_apply_keeps_owners_apart() {
    let Some(mesh) = Mesh::start().await else { return };
    mesh.pipe(&["apply", "--server-side", "--field-manager=one", "-f", "-"], SERVICE).await;
    let other = "apiVersion: v1\nkind: Service\nmetadata: {name: reviews}\nspec: {ports: [{name: web, port: 9080, protocol: TCP}]}\n";
    let error = mesh.fails(&["apply", "--server-side", "--field-manager=two", "-f", "-"], other).await;
    assert!(error.contains(r#"conflict with "one""#) && error.contains(r#".spec.ports[port=9080,protocol="TCP"].name"#), "{error}");
    mesh.pipe(&["apply", "--server-side", "--field-manager=two", "--force-conflicts", "-f", "-"], other).await;
    assert_eq!(mesh.ok(&["get", "svc", "reviews", "-o", "jsonpath={.spec.ports[*].name}"]).await, "web metrics");
    let without = SERVICE.replace(", {name: metrics, port: 9090}", "").replace("{name: http, port: 9080}", "{port: 9080}");
    mesh.pipe(&["apply", "--server-side", "--field-manager=one", "-f", "-"], &without).await;
    let ports = mesh.ok(&["get", "svc", "reviews", "-o", "jsonpath={.spec.ports[*].port} {.spec.ports[*].name}"]).await;
    assert_eq!(ports, "9080 web", "what one applies no more is gone, what two owns stays");
    let managers = mesh.ok(&["get", "svc", "reviews", "--show-managed-fields", "-o", "jsonpath={.metadata.managedFields[*].manager}"]).await;
    assert!(managers.contains("one") && managers.contains("two"), "{managers}");
}

#[tokio::test]
async fn watches_and_waits_follow_what_happens() {
    let Some(mesh) = Mesh::start().await else { return };
    mesh.pipe(&["create", "-f", "-"], REVIEWS).await;
    let (_hosts, mut hosts) = mesh.follow(&["get", "vs", "-w", "--no-headers", "-o", "custom-columns=N:.metadata.name,H:.spec.hosts"]);
    assert!(line(&mut hosts).await.starts_with("reviews"));
    let (_table, mut table) = mesh.follow(&["get", "vs", "-w", "--output-watch-events"]);
    assert!(line(&mut table).await.starts_with("EVENT"));
    assert!(line(&mut table).await.starts_with("ADDED"));
    mesh.ok(&["patch", "vs", "reviews", "--type=merge", "-p", r#"{"spec":{"hosts":["changed"]}}"#]).await;
    assert!(line(&mut hosts).await.contains("changed"));
    assert!(line(&mut table).await.starts_with("MODIFIED"));

    let (mut waiting, mut waited) = mesh.follow(&["wait", "--for=condition=Live", "vs/reviews", "--timeout=30s"]);
    let status = r#"{"status":{"conditions":[{"type":"Live","status":"True","reason":"All","message":"1/1"}]}}"#;
    mesh.ok(&["patch", "vs", "reviews", "--subresource=status", "--type=merge", "-p", status]).await;
    assert!(line(&mut waited).await.ends_with("condition met"));
    assert!(tokio::time::timeout(DEADLINE, waiting.wait()).await.expect("in time").expect("kubectl ran").success());
    assert!(line(&mut hosts).await.contains("changed"), "a status is a change too");
    assert!(line(&mut table).await.starts_with("MODIFIED"));
    let generation = mesh.ok(&["get", "vs", "reviews", "-o", "jsonpath={.metadata.generation}"]).await;
    assert_eq!(generation, "2", "but a status is no change of what is wanted");

    mesh.ok(&["delete", "vs", "reviews"]).await;
    assert!(line(&mut table).await.starts_with("DELETED"));
    let future = "/apis/networking.istio.io/v1/virtualservices?watch=1&resourceVersion=99999";
    assert!(mesh.fails(&["get", "--raw", future], "").await.contains("too old resource version"));
    let short = "/apis/networking.istio.io/v1/virtualservices?watch=1&timeoutSeconds=1";
    assert_eq!(mesh.ok(&["get", "--raw", short]).await, "", "a watch ends when it was asked to");
}

#[tokio::test]
async fn a_namespace_goes_with_all_that_is_in_it_and_finalizers_hold_an_object() {
    let Some(mesh) = Mesh::start().await else { return };
    mesh.pipe(&["apply", "-f", "-"], "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n").await;
    assert!(mesh.ok(&["get", "ns"]).await.contains("istio-system"));
    mesh.pipe(&["apply", "-n", "shop", "-f", "-"], REVIEWS).await;
    assert!(mesh.ok(&["delete", "ns", "shop"]).await.contains("deleted"));
    assert_eq!(mesh.ok(&["get", "vs", "-A", "-o", "name"]).await, "");
    assert!(mesh.fails(&["delete", "ns", "default"], "").await.contains("may not be deleted"));

    mesh.pipe(&["apply", "-f", "-"], &REVIEWS.replace("name: reviews,", "name: reviews, finalizers: [example.com/hold],")).await;
    mesh.ok(&["delete", "vs", "reviews", "--wait=false"]).await;
    assert_ne!(mesh.ok(&["get", "vs", "reviews", "-o", "jsonpath={.metadata.deletionTimestamp}"]).await, "");
    mesh.ok(&["patch", "vs", "reviews", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#]).await;
    assert_eq!(mesh.ok(&["get", "vs", "-o", "name"]).await, "");
}

#[tokio::test]
async fn imperative_commands_work_though_they_speak_protobuf() {
    let Some(mesh) = Mesh::start().await else { return };
    mesh.ok(&["create", "namespace", "shop"]).await;
    mesh.ok(&["-n", "shop", "create", "configmap", "settings", "--from-literal=colour=blue"]).await;
    assert_eq!(mesh.ok(&["-n", "shop", "get", "cm", "settings", "-o", "jsonpath={.data.colour}"]).await, "blue");
    mesh.ok(&["-n", "shop", "create", "secret", "generic", "token", "--from-literal=key=value"]).await;
    assert_eq!(mesh.ok(&["-n", "shop", "get", "secret", "token", "-o", "jsonpath={.data.key}"]).await, "dmFsdWU=");
    mesh.ok(&["-n", "shop", "create", "serviceaccount", "bob"]).await;
    mesh.ok(&["-n", "shop", "create", "service", "clusterip", "web", "--tcp=80:8080"]).await;
    let web = ["-n", "shop", "get", "svc", "web", "-o", "jsonpath={.spec.ports[0].port} {.spec.ports[0].targetPort} {.spec.selector.app}"];
    assert_eq!(mesh.ok(&web).await, "80 8080 web");
    assert_eq!(mesh.ok(&["auth", "can-i", "create", "virtualservices"]).await.trim(), "yes");
    let error = mesh.fails(&["create", "deployment", "web", "--image=web"], "").await;
    assert!(error.contains("protobuf") && error.contains("kubectl apply -f -"), "{error}");
}

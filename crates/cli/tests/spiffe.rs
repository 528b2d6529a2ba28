//! SPIFFE with real processes: the clients of others fetch, watch and validate what the Workload API gives; an application speaks to the mesh with
//! its own certificate; tokens let requests in; two meshes believe each other's members, each by the other's bundle.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use futures_util::StreamExt;
use serde_json::Value;
use spiffe::WorkloadApiClient;
use std::path::Path;
use std::process::{Command, Stdio};
use support::{Client, Connection, Member, Mesh, PATIENCE, eventually, has, text};

const SHOP: &str = "spiffe://cluster.local/ns/default/sa/shop";

/// The service `shop` of an HTTP server, behind its sidecar with the Workload API.
fn shop(mesh: &mut Mesh, last: u8) -> String {
    let api = mesh.directory.path().join(format!("{last}.sock")).to_str().unwrap().to_owned();
    let mut member = Member::new("shop", "v1", last).with(&["--workload-api", &api]);
    member.account = "shop".to_owned();
    member.ports = vec!["8080/http".to_owned()];
    member.program = server();
    mesh.run(&member);
    format!("unix:{api}")
}

fn server() -> Vec<String> {
    ["sh", "-c", "exec python3 -m http.server $PORT --bind $ADDRESS"].map(str::to_owned).into()
}

fn in_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(2 * PATIENCE, work).await.expect("in time") })
}

#[test]
fn the_rust_client_watches_a_certificate_over_renewals_and_over_another_root() {
    let mut mesh = Mesh::new();
    mesh.leaf_lifetime = Some("8s");
    mesh.up();
    let api = shop(&mut mesh, 20);
    mesh.wait_ready(1);
    let roots = |context: &spiffe::X509Context| {
        let domain = "cluster.local".try_into().unwrap();
        context.bundle_set().get(&domain).unwrap().authorities().len()
    };
    in_runtime(async {
        let client = WorkloadApiClient::connect_to(&api).await.unwrap();
        let mut contexts = client.stream_x509_contexts().await.unwrap();
        let mut leaves = Vec::new();
        // The stream itself brings each new one, before the old one is over.
        while leaves.len() < 3 {
            let context = contexts.next().await.unwrap().unwrap();
            let svid = context.default_svid().unwrap();
            assert_eq!((svid.spiffe_id().to_string().as_str(), roots(&context)), (SHOP, 1));
            let leaf = svid.leaf().as_ref().to_vec();
            if leaves.last() != Some(&leaf) {
                leaves.push(leaf);
            }
        }
        let rotated = mesh.taut(&["trust", "rotate", "--wait", "0s"]);
        assert!(rotated.status.success(), "{}", text(&rotated.stderr));
        let mut believed = vec![1];
        while believed != [1, 2, 1] {
            let now = roots(&contexts.next().await.unwrap().unwrap());
            if believed.last() != Some(&now) {
                believed.push(now);
            }
        }
        println!("{} leaves watched, roots believed: {believed:?}", leaves.len());
    });
}

#[test]
fn a_token_of_the_rust_client_lets_a_request_in_where_the_policy_points_at_the_meshs_own_keys() {
    let mut mesh = Mesh::start();
    let api = shop(&mut mesh, 20);
    mesh.wait_ready(1);
    let bundle = format!("http://{}:15080/taut/v1/trust/bundle", mesh.address(250));
    mesh.apply_text(&format!(
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{ name: tokens }}\nspec:\n  jwtRules:\n  - issuer: spiffe://cluster.local\n    jwksUri: {bundle}\n    audiences: [shop]\n---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{ name: tokens }}\nspec:\n  rules:\n  - from: [{{ source: {{ requestPrincipals: [\"spiffe://cluster.local/{SHOP}\"] }} }}]\n"
    ));
    let token = |audience: &'static str| {
        in_runtime(async {
            let client = WorkloadApiClient::connect_to(&api).await.unwrap();
            let token = client.fetch_jwt_token([audience], None).await.unwrap();
            assert_eq!(client.validate_jwt_token(audience, &token).await.unwrap().spiffe_id().to_string(), SHOP);
            assert!(client.validate_jwt_token("elsewhere", &token).await.is_err());
            token
        })
    };
    let (good, other) = (token("shop"), token("bank"));
    let status = |token: Option<&str>| {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<(&str, &str)> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        Client::behind(&mesh, 20).get("http://shop:8080/", &headers).map(|reply| reply.status).unwrap_or_default()
    };
    eventually(PATIENCE, "the token is taken", || match status(Some(&good)) {
        200 => Ok(()),
        other => Err(other.to_string()),
    });
    assert_eq!((status(None), status(Some(&other)), status(Some(&good[..good.len() - 8]))), (403, 401, 401));
    let signed = mesh.taut_ok(&["audit", "--what", "jwt.issued"]);
    assert!(signed.contains(SHOP), "{signed}");
}

/// Lines of JSON in the log of a member.
fn said(mesh: &Mesh, member: &str, field: &str) -> Vec<Value> {
    let log = mesh.log(member);
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| !line[field].is_null()).collect()
}

/// A server of others with a public name of its own: who it is, and what it answers.
struct Web {
    directory: tempfile::TempDir,
    server: std::process::Child,
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Web {
    /// Its own root, a certificate that is right, and some that are not.
    fn start(address: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let openssl = |arguments: &str| {
            let done = Command::new("openssl").current_dir(directory.path()).args(arguments.split(' ')).output().unwrap();
            assert!(done.status.success(), "openssl {arguments}: {}", text(&done.stderr));
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        for root in ["root", "other"] {
            openssl(&format!("req -x509 {key} -keyout {root}.key -out {root}.pem -subj /CN={root} -days 30"));
        }
        openssl(&format!("req {key} -keyout server.key -out server.csr -subj /O=west"));
        for (name, root, names, days) in [
            ("good", "root", address, "30"),
            ("elsewhere", "root", "192.0.2.7", "30"),
            ("expired", "root", address, "-1"),
            ("forged", "other", address, "30"),
        ] {
            std::fs::write(directory.path().join("names"), format!("subjectAltName=IP:{names}\n")).unwrap();
            openssl(&format!(
                "x509 -req -in server.csr -CA {root}.pem -CAkey {root}.key -CAcreateserial -days {days} -extfile names -out {name}.pem"
            ));
        }
        std::fs::write(directory.path().join("mode"), "good none").unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/https_server.py");
        let server = Command::new("python3").args([script, address, "8443"]).arg(directory.path()).spawn().unwrap();
        Self { directory, server }
    }

    /// From now on it shows this certificate, and answers with what this file holds.
    fn is(&self, certificate: &str, answer: &str) {
        let next = self.directory.path().join("mode.next");
        std::fs::write(&next, format!("{certificate} {answer}")).unwrap();
        std::fs::rename(next, self.directory.path().join("mode")).unwrap();
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.directory.path().join(name), content).unwrap();
    }
}

/// The profile https_web: a server proves its name by the public key infrastructure, and whatever else comes changes nothing.
#[test]
fn a_bundle_is_fetched_from_a_server_that_proves_its_name_and_the_last_good_one_is_kept_from_any_other() {
    if !has("openssl") || !has("python3") {
        return eprintln!("skipped: openssl or python3 is not installed");
    }
    let mut mesh = Mesh::new();
    let address = mesh.address(60);
    let web = Web::start(&address);
    mesh.web_roots = Some(web.directory.path().join("root.pem"));
    mesh.up();
    // As the west publishes it, asking to be looked at every two seconds; with one root, then with two.
    let one: Value = serde_json::from_str(&bundle(&mesh)).unwrap();
    let keys: Vec<&Value> = one["keys"].as_array().unwrap().iter().filter(|key| key["use"] == "x509-svid").collect();
    let document = |roots: usize| serde_json::json!({"keys": vec![keys[0]; roots], "spiffe_refresh_hint": 2}).to_string();
    web.write("one.json", &document(1));
    web.write("two.json", &document(2));
    web.write("lie.json", "{\"keys\": []}");
    let url = format!("https://{address}:8443/bundle.json");
    mesh.apply_text(&format!(
        "apiVersion: tautline.dev/v1alpha1\nkind: MeshSettings\nmetadata: {{ name: mesh }}\nspec: {{ federation: [{{ trustDomain: west.example, bundleUrl: \"{url}\" }}] }}\n"
    ));
    let roots = || serde_json::from_str::<Value>(&mesh.taut_ok(&["trust", "-o", "json"])).unwrap()["federated"][0]["roots"].as_u64().unwrap_or(0);
    let said = || text(&mesh.taut(&["get", "meshsettings", "mesh", "-o", "yaml"]).stdout) + &mesh.log("control-plane");
    let until = |what: &str, wanted: u64, problem: &str| {
        eventually(2 * PATIENCE, what, || match roots() {
            now if now == wanted && said().contains(problem) => Ok(()),
            now => Err(format!("{now} roots; {}", said())),
        });
    };
    web.is("good", "one.json");
    until("the bundle is fetched", 1, "");
    for (certificate, answer, why) in [
        ("good", "lie.json", "holds no X.509 authority"),
        ("elsewhere", "two.json", "not valid for name"),
        ("expired", "two.json", "Expired"),
        ("forged", "two.json", "UnknownIssuer"),
        ("good", "hang", "did not answer within"),
    ] {
        web.is(certificate, answer);
        until(&format!("{certificate} {answer} is told of"), 1, why);
        // Good again: what others did in between has left nothing.
        web.is("good", "one.json");
        eventually(2 * PATIENCE, "it is good again", || match mesh.taut_ok(&["status"]) {
            status if status.contains("last good bundle") => Err(status),
            _ => Ok(()),
        });
    }
    web.is("good", "two.json");
    until("the next bundle is taken up", 2, "");
}

/// Speaks to a sidecar's peer port with a certificate and its key.
fn openssl(directory: &Path, peer: &str, request: &str) -> String {
    let arguments = ["30", "openssl", "s_client", "-connect", peer, "-alpn", "taut/http1", "-servername", "8080.bank.default.svc.cluster.local"];
    let files =
        ["-cert", "svid.pem", "-cert_chain", "svid.pem", "-key", "key.pem", "-CAfile", "bundle.pem", "-verify_return_error", "-quiet", "-ign_eof"];
    let mut command = Command::new("timeout");
    command.current_dir(directory).args(arguments).args(files).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), request.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn the_python_client_has_what_its_sidecar_gives_and_openssl_speaks_with_it() {
    if !Command::new("python3").args(["-c", "import spiffe"]).output().is_ok_and(|output| output.status.success()) || !has("openssl") {
        return eprintln!("skipped: python3 with the package spiffe, or openssl, is not installed");
    }
    let mut mesh = Mesh::new();
    mesh.leaf_lifetime = Some("20s");
    mesh.up();
    let files = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/spiffe_client.py");
    let api = mesh.directory.path().join("shop.sock");
    let mut client = Member::new("shop", "v1", 20).with(&["--workload-api", api.to_str().unwrap()]);
    (client.account, client.ports) = ("shop".to_owned(), vec![]);
    client.program = ["python3", "-u", script, "3", files.path().to_str().unwrap()].map(str::to_owned).into();
    let mut bank = Member::new("bank", "v1", 30);
    (bank.account, bank.ports, bank.program) = ("bank".to_owned(), vec!["8080/http".to_owned()], server());
    mesh.run(&bank);
    mesh.run(&client);
    mesh.apply_text(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: bank }\nspec:\n  selector: { matchLabels: { app: bank } }\n  rules:\n  - from: [{ source: { principals: [cluster.local/ns/default/sa/shop] } }]\n    to: [{ operation: { paths: [/open] } }]\n",
    );
    mesh.wait_ready(2);
    eventually(2 * PATIENCE, "the client is done", || match said(&mesh, "shop-v1", "done").is_empty() {
        true => Err(mesh.log("shop-v1")),
        false => Ok(()),
    });
    let svids = said(&mesh, "shop-v1", "svid");
    let serials: std::collections::BTreeSet<&str> = svids.iter().map(|one| one["serial"].as_str().unwrap()).collect();
    assert!(serials.len() == 3 && svids.iter().all(|one| one["svid"] == SHOP && one["authorities"] == 1), "{svids:#?}");
    let jwt = said(&mesh, "shop-v1", "jwt").remove(0);
    assert_eq!((&jwt["jwt"], &jwt["audience"]), (&SHOP.into(), &serde_json::json!(["bank", "shop"])));
    assert!(jwt["refused"].as_str().unwrap().contains("meant for others"), "{jwt}");
    println!("{} X.509-SVIDs watched by Python: {serials:?}; {jwt}", svids.len());
    // The application itself is the peer: its identity decides, and the policy about paths holds for it.
    let peer = format!("{}:15008", mesh.address(30));
    let get = |path: &str| openssl(files.path(), &peer, &format!("GET {path} HTTP/1.1\r\nhost: bank\r\nconnection: close\r\n\r\n"));
    let (open, closed) = (get("/open"), get("/closed"));
    assert!(open.contains("HTTP/1.1 404"), "let in, and there is no such file: {open}");
    assert!(closed.contains("HTTP/1.1 403"), "{closed}");
    let revoked = mesh.taut(&["trust", "revoke", "default/shop-v1"]);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    eventually(PATIENCE, "the application's own certificate is revoked with its sidecar's", || match get("/open") {
        refused if refused.contains("HTTP/1.1") => Err(refused),
        _ if mesh.admin(30, "/records").body.contains("is revoked (serial number") => Ok(()),
        refused => Err(refused),
    });
}

/// What a control plane tells everybody of whom to believe.
fn bundle(mesh: &Mesh) -> String {
    let address = format!("{}:15080", mesh.address(250));
    let reply = Connection::open(&address).unwrap().get("/taut/v1/trust/bundle", &address, &[]).unwrap();
    assert_eq!(reply.status, 200);
    reply.body
}

/// A list with a workload's certificate on it, signed by the mesh's own intermediate, whose certificate comes along; the file that it is in.
fn list(mesh: &Mesh, uid: &str) -> String {
    let trust: Value = serde_json::from_str(&mesh.taut_ok(&["trust", "-o", "json"])).unwrap();
    let of = |proxy: &&Value| proxy["uid"] == uid;
    let serial = trust["proxies"].as_array().unwrap().iter().find(of).unwrap()["leaf"]["serial"].as_str().unwrap().to_uppercase();
    let directory = mesh.directory.path();
    let write = |name: &str, text: &str| std::fs::write(directory.join(name), text).unwrap();
    write("ca.conf", "[ca]\ndefault_ca=mesh\n[mesh]\ndatabase=index.txt\ncrlnumber=number\ndefault_md=sha256\n");
    write("number", "01\n");
    write("index.txt", &format!("R\t400101000000Z\t260101000000Z\t{serial}\tunknown\t/CN=gone\n"));
    let intermediate = mesh.state().join("ca/intermediate.pem");
    let mut command = Command::new("openssl");
    command.current_dir(directory).args(["ca", "-config", "ca.conf", "-gencrl", "-crldays", "7", "-out", "list.pem", "-cert"]).arg(&intermediate);
    let done = command.arg("-keyfile").arg(mesh.state().join("ca/intermediate.key")).output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    let both = std::fs::read_to_string(directory.join("list.pem")).unwrap() + &std::fs::read_to_string(intermediate).unwrap();
    write("crl.pem", &both);
    directory.join("crl.pem").display().to_string()
}

fn federate(mesh: &Mesh, with: &str, bundle: &str) {
    mesh.apply_text(&format!(
        "apiVersion: tautline.dev/v1alpha1\nkind: MeshSettings\nmetadata: {{ name: mesh }}\nspec:\n  federation:\n  - trustDomain: {with}\n    {bundle}\n"
    ));
    mesh.taut_ok(&["wait", "--for=live", "--timeout", "20s"]);
}

/// What each one's own authority revokes is refused by the other, who calls and who is called, by name.
fn revoke_each_other(east: &Mesh, west: &Mesh, file: &Path, call: &dyn Fn() -> std::io::Result<(u16, String)>, until: &dyn Fn(&str, (u16, &str))) {
    let named = |mesh: &Mesh, last: u8| mesh.admin(last, "/records").body.contains("is revoked (serial number");
    federate(west, "east.example", &format!("bundle: '{}'\n    crlUrl: file://{}", bundle(east), list(east, "default/web-v1")));
    eventually(PATIENCE, "the west refuses the east's certificate", || match (call(), named(west, 20)) {
        (Ok((status, _)), true) if status != 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    federate(west, "east.example", &format!("bundle: '{}'", bundle(east)));
    until("without the list both believe each other", (200, ""));
    let told = format!("bundleUrl: file://{}\n    crlUrl: file://{}", file.display(), list(west, "default/shop-v1"));
    federate(east, "west.example", &told);
    until("the east does not speak to the west's", (503, "peer_untrusted"));
    assert!(named(east, 10), "{}", east.admin(10, "/records").body);
    federate(east, "west.example", &format!("bundleUrl: file://{}", file.display()));
    until("both believe each other again", (200, ""));
}

#[test]
fn members_of_two_meshes_call_each_other_when_both_are_federated_and_not_before() {
    let mut east = Mesh::new();
    east.trust_domain = Some("east.example");
    east.up();
    let mut west = Mesh::new();
    west.trust_domain = Some("west.example");
    west.up();
    let west_api = shop(&mut west, 20);
    let mut web = Member::new("web", "v1", 10);
    (web.account, web.ports, web.program) = ("web".to_owned(), vec![], ["sleep", "600"].map(str::to_owned).into());
    east.run(&web);
    east.wait_ready(1);
    west.wait_ready(1);
    // The east knows the west's workload by what its operator writes.
    let (address, peer) = (west.address(20), format!("{}:15008", west.address(20)));
    east.apply_text(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: shop }}\nspec:\n  selector: {{ app: shop }}\n  ports: [{{ port: 8080, name: http }}]\n---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata:\n  name: shop-of-the-west\n  labels: {{ app: shop }}\n  annotations: {{ tautline.dev/peer: \"{peer}\", tautline.dev/identity: \"spiffe://west.example/ns/default/sa/shop\" }}\nspec: {{ address: {address}, labels: {{ app: shop }} }}\n"
    ));
    let call = || {
        Client::behind(&east, 10)
            .get("http://shop:8080/", &[])
            .map(|reply| (reply.status, reply.header("x-taut-reason").unwrap_or_default().to_owned()))
    };
    let until = |what: &str, wanted: (u16, &str)| {
        eventually(PATIENCE, what, || match call() {
            Ok((status, reason)) if (status, reason.as_str()) == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        });
    };
    until("the west is a stranger", (503, "peer_untrusted"));
    // By a file, as a fetched bundle is followed; one side alone is not enough.
    let file = east.directory.path().join("west.json");
    std::fs::write(&file, bundle(&west)).unwrap();
    federate(&east, "west.example", &format!("bundleUrl: file://{}", file.display()));
    eventually(PATIENCE, "the west refuses the east by name", || {
        let (answer, records) = (call(), west.admin(20, "/records").body);
        match records.contains("of another trust domain than west.example") {
            true if answer.as_ref().is_ok_and(|(status, _)| *status != 200) => Ok(()),
            _ => Err(format!("{answer:?} {records}")),
        }
    });
    federate(&west, "east.example", &format!("bundle: '{}'", bundle(&east)));
    until("both believe each other", (200, ""));
    // The application is told whom it may believe, too.
    let bundles = in_runtime(async {
        let client = WorkloadApiClient::connect_to(&west_api).await.unwrap();
        (client.fetch_x509_bundles().await.unwrap().len(), client.fetch_jwt_bundles().await.unwrap().len())
    });
    assert_eq!(bundles, (2, 2));
    if has("openssl") {
        revoke_each_other(&east, &west, &file, &call, &until);
    }
    federate(&west, "elsewhere.example", &format!("bundle: '{}'", bundle(&east)));
    eventually(PATIENCE, "the east is a stranger again", || match call() {
        Ok((200, _)) => Err("let in".to_owned()),
        _ => Ok(()),
    });
}

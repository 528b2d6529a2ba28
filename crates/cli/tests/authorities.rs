//! Other authorities with real processes: a CA that serves Istio's certificate service, honest and not, and a SPIFFE Workload API as SPIRE's agent
//! serves it, both in Python. Where Python lacks grpcio or cryptography, the tests say so and pass.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::{Client, Member, Mesh, PATIENCE, eventually, text};

const LONG: Duration = Duration::from_secs(60);

/// A Python program of this directory, which is ended with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn able() -> bool {
    let able = Command::new("python3").args(["-c", "import grpc, cryptography"]).output().is_ok_and(|output| output.status.success());
    if !able {
        eprintln!("python3 with grpcio and cryptography is not installed: no other authority is tested");
    }
    able
}

/// Starts it, and waits until it says that it serves.
fn start(mesh: &Mesh, program: &str, arguments: &[String]) -> Program {
    let script = format!("{}/tests/authorities/{program}", env!("CARGO_MANIFEST_DIR"));
    let log = std::fs::File::create(mesh.log_path(program)).unwrap();
    let errors = log.try_clone().unwrap();
    let mut command = Command::new("python3");
    let child = command.args(["-B", "-u", &script]).args(arguments).stdin(Stdio::null()).stdout(log).stderr(errors).spawn().unwrap();
    let running = Program(child);
    eventually(PATIENCE, "it serves", || match mesh.log(program) {
        log if log.contains("serving") => Ok(()),
        log => Err(log),
    });
    running
}

fn server(service: &str, last: u8, more: &[&str]) -> Member {
    let mut member = Member::new(service, "v1", last).with(more);
    member.account = service.to_owned();
    member.ports = vec!["8080/http".to_owned()];
    member.program = ["sh", "-c", "exec python3 -m http.server $PORT --bind $ADDRESS"].map(str::to_owned).into();
    member
}

fn request(mesh: &Mesh, from: u8, to: &str) -> Result<(), String> {
    match Client::behind(mesh, from).get(&format!("http://{to}:8080/"), &[]) {
        Ok(reply) if reply.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

fn trust(mesh: &Mesh) -> Value {
    serde_json::from_str(&mesh.taut_ok(&["trust", "-o", "json"])).unwrap()
}

/// The serial number of what a sidecar shows, as the control plane has heard it.
fn leaf(mesh: &Mesh, uid: &str) -> String {
    let status = trust(mesh);
    let found = status["proxies"].as_array().unwrap().iter().find(|proxy| proxy["uid"] == uid).cloned().unwrap_or_default();
    found["leaf"]["serial"].as_str().unwrap_or_default().to_owned()
}

/// A mesh of which a CA in Python signs.
struct Upstream {
    mesh: Mesh,
    directory: PathBuf,
    address: String,
    _ca: Program,
}

impl Upstream {
    fn start(leaf_lifetime: &'static str) -> Self {
        let mut mesh = Mesh::new();
        let (directory, host) = (mesh.directory.path().to_owned(), mesh.address(240));
        let ca = start(&mesh, "ca.py", &[host.clone(), "8443".to_owned(), directory.to_str().unwrap().to_owned()]);
        let file = |name: &str| directory.join(name).to_str().unwrap().to_owned();
        std::fs::copy(directory.join("root.pem"), directory.join("roots.pem")).unwrap();
        std::fs::write(directory.join("token"), "upstream-token\n").unwrap();
        let address = format!("{host}:8443");
        mesh.leaf_lifetime = Some(leaf_lifetime);
        mesh.up_with(&["--upstream-ca", &address, "--upstream-ca-roots", &file("roots.pem"), "--upstream-ca-token", &file("token")]);
        Self { mesh, directory, address, _ca: ca }
    }

    fn mode(&self, mode: &str) {
        std::fs::write(self.directory.join("mode"), mode).unwrap();
    }

    /// The requests that the CA has seen.
    fn seen(&self) -> Vec<Value> {
        self.mesh.log("ca.py").lines().filter_map(|line| serde_json::from_str(line).ok()).filter(|line: &Value| line["wished"].is_array()).collect()
    }
}

#[test]
fn another_ca_signs_for_whoever_the_control_plane_lets_in() {
    if !able() {
        return;
    }
    let mut upstream = Upstream::start("20s");
    upstream.mesh.run(&server("shop", 20, &[]));
    upstream.mesh.run(&server("web", 10, &[]));
    upstream.mesh.wait_ready(2);
    eventually(PATIENCE, "requests pass", || request(&upstream.mesh, 10, "shop"));
    let seen = upstream.seen();
    let asked = seen.iter().find(|one| one["impersonated"] == "spiffe://cluster.local/ns/default/sa/shop").expect("the shop's request");
    assert!(!upstream.mesh.log("shop-v1").contains("no new certificate"), "that it had to name the trust domain is no trouble");
    assert_eq!((&asked["wished"][0], asked["seconds"].as_u64()), (&asked["impersonated"], Some(20)), "{asked}");
    let shown = upstream.mesh.taut_ok(&["trust"]);
    assert!(shown.contains(&format!("signed by the upstream CA {}", upstream.address)) && !shown.contains("intermediate"), "{shown}");
    let rotated = upstream.mesh.taut(&["trust", "rotate"]);
    assert!(!rotated.status.success() && text(&rotated.stderr).contains("another authority signs"), "{}", text(&rotated.stderr));

    // Leaves are renewed through it.
    let before = leaf(&upstream.mesh, "default/shop-v1");
    eventually(LONG, "a new leaf", || match leaf(&upstream.mesh, "default/shop-v1") {
        now if now != before && !now.is_empty() => Ok(()),
        now => Err(now),
    });
    request(&upstream.mesh, 10, "shop").unwrap();

    // Another root: named beside the old one, then it signs, then it is the only one that is named.
    let both = std::fs::read_to_string(upstream.directory.join("root.pem")).unwrap()
        + &std::fs::read_to_string(upstream.directory.join("next.pem")).unwrap();
    std::fs::write(upstream.directory.join("roots.pem"), both).unwrap();
    eventually(PATIENCE, "both are believed", || match trust(&upstream.mesh) {
        now if now["roots"].as_array().unwrap().len() == 2 && now["proxies"].as_array().unwrap().iter().all(|one| one["bundle"] == "current") => {
            Ok(())
        }
        now => Err(now.to_string()),
    });
    upstream.mode("next");
    let before = leaf(&upstream.mesh, "default/shop-v1");
    eventually(LONG, "a leaf of the next root", || {
        request(&upstream.mesh, 10, "shop")?;
        match leaf(&upstream.mesh, "default/shop-v1") {
            now if now != before && !now.is_empty() => Ok(()),
            now => Err(now),
        }
    });
    request(&upstream.mesh, 10, "shop").unwrap();
}

#[test]
fn a_ca_that_lies_or_is_away_is_told_of_and_traffic_goes_on() {
    if !able() {
        return;
    }
    let mut upstream = Upstream::start("1h");
    upstream.mesh.run(&server("shop", 20, &[]));
    upstream.mesh.run(&server("web", 10, &[]));
    upstream.mesh.wait_ready(2);
    for (number, (mode, why)) in [
        ("name", "whose names are not exactly the identity that was asked for"),
        ("key", "a certificate for another key than the one in the request"),
        ("root", "does not lead to a root that the mesh trusts"),
        ("life", "was asked for: allow the CA shorter lives"),
        ("refuse", "refused to sign: PermissionDenied: not in this cluster"),
        ("hang", "is away: it did not answer in 6 s"),
    ]
    .into_iter()
    .enumerate()
    {
        upstream.mode(mode);
        let name = format!("late{number}");
        upstream.mesh.run(&server(&name, 30 + u8::try_from(number).unwrap(), &[]));
        eventually(PATIENCE, "the alarm says it", || match upstream.mesh.taut_ok(&["trust"]) {
            shown if shown.contains(why) => Ok(()),
            shown => Err(format!("{mode}: {shown}")),
        });
        eventually(PATIENCE, "the refusal is written down", || {
            match upstream.mesh.taut_ok(&["audit", "--what", "certificate.refused", "-o", "json"]) {
                shown if shown.contains(why) => Ok(()),
                shown => Err(format!("{mode}: {shown}")),
            }
        });
        request(&upstream.mesh, 10, "shop").unwrap();
        assert_eq!(upstream.mesh.terminate(&format!("{name}-v1")), Some(0));
    }
    assert_eq!(trust(&upstream.mesh)["proxies"].as_array().unwrap().len(), 2, "nobody got in by a lie");
    upstream.mode("");
    upstream.mesh.run(&server("late", 40, &[]));
    upstream.mesh.wait_ready(3);
    eventually(PATIENCE, "the alarm is over", || match upstream.mesh.taut_ok(&["trust"]) {
        shown if shown.contains("✓ nothing is near its end") => Ok(()),
        shown => Err(shown),
    });
}

#[test]
fn a_workload_api_gives_everybody_their_identity_over_renewals_and_over_another_root() {
    if !able() {
        return;
    }
    let mut mesh = Mesh::new();
    let (phase, socket) = (mesh.directory.path().join("phase"), |name: &str| mesh.directory.path().join(name).to_str().unwrap().to_owned());
    std::fs::write(&phase, "old").unwrap();
    let id = |account: &str| format!("spiffe://cluster.local/ns/default/sa/{account}");
    let workloads = [("control", "spiffe://cluster.local/ns/istio-system/sa/taut-control".to_owned()), ("shop", id("shop")), ("web", id("web"))];
    let workloads = workloads.into_iter().map(|(name, id)| format!("{}={id}", socket(name)));
    let arguments: Vec<String> = [phase.to_str().unwrap().to_owned()].into_iter().chain(workloads).collect();
    let from = |name: &str| format!("unix://{}", socket(name));
    let (control, shop, web) = (from("control"), from("shop"), from("web"));
    let _agent = start(&mesh, "agent.py", &arguments);
    mesh.up_with(&["--identity-from", &control]);
    mesh.run(&server("shop", 20, &["--identity-from", &shop]));
    mesh.run(&server("web", 10, &["--identity-from", &web]));
    mesh.wait_ready(2);
    eventually(PATIENCE, "requests pass", || request(&mesh, 10, "shop"));
    let shown = mesh.taut_ok(&["trust"]);
    assert!(shown.contains(&format!("signed by the SPIFFE Workload API {control}")), "{shown}");

    let renewed = |mesh: &Mesh, what: &str| {
        let before = leaf(mesh, "default/shop-v1");
        eventually(LONG, what, || {
            request(mesh, 10, "shop")?;
            match leaf(mesh, "default/shop-v1") {
                now if now != before && !now.is_empty() => Ok(()),
                now => Err(now),
            }
        });
    };
    renewed(&mesh, "a new certificate, and no request failed");
    for (next, roots) in [("both", 2), ("turned", 2), ("new", 1)] {
        std::fs::write(&phase, next).unwrap();
        eventually(LONG, "every sidecar believes what the agent says", || {
            request(&mesh, 10, "shop")?;
            let now = trust(&mesh);
            let behind = now["proxies"].as_array().unwrap().iter().filter(|one| one["bundle"] != "current").count();
            match (now["roots"].as_array().unwrap().len(), behind) {
                (count, 0) if count == roots => Ok(()),
                _ => Err(format!("{next}: {now}")),
            }
        });
        renewed(&mesh, next);
    }

    // A control plane that signs nothing says so, and who is of another shape does not get in.
    let token = mesh.taut_ok(&["token", "--service-account", "stranger"]);
    mesh.run(&server("stranger", 30, &["--token", token.trim()]));
    eventually(PATIENCE, "it is refused by name", || match mesh.log("stranger-v1") {
        log if log.contains("identities of this mesh come from a SPIFFE Workload API") => Ok(()),
        log => Err(log),
    });
    mesh.run(&server("other", 31, &["--identity-from", &web]));
    eventually(PATIENCE, "it is refused by name", || match mesh.log("other-v1") {
        log if log.contains("gives spiffe://cluster.local/ns/default/sa/web, and this workload is spiffe://TRUST-DOMAIN/ns/default/sa/other") => {
            Ok(())
        }
        log => Err(log),
    });
}

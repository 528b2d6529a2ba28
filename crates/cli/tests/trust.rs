//! Trust with real processes: roots and leaves that change under load without anybody noticing, certificates that are revoked, an authority of
//! the operator's own, and what `openssl` and `testssl.sh` find at a sidecar's peer port.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "other tests use the rest")]
mod load;
mod support;

use load::{Apps, Http1, Http2, Load, Ping};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::{Connection, Mesh, PATIENCE, eventually, has, text};

const LONG: Duration = Duration::from_secs(90);

/// A client's proxy and a server's proxy.
struct Pair {
    mesh: Mesh,
    _apps: Apps,
}

impl Pair {
    fn start(mesh: Mesh) -> Self {
        let apps = Apps::start(&mesh.address(20), &mesh.address(30));
        let mut pair = Self { mesh, _apps: apps };
        let ports = ["--port", "7000/tcp", "--port", "8081/http", "--port", "8082/http2"];
        pair.proxy("shop", 20, &[&["--service", "shop"][..], &ports].concat());
        let upstream = format!("shop:7000={}", pair.at(10, 7000));
        pair.proxy("web", 10, &["--upstream", &upstream]);
        pair.mesh.wait_ready(2);
        pair
    }

    fn at(&self, last: u8, port: u16) -> String {
        format!("{}:{port}", self.mesh.address(last))
    }

    fn proxy(&mut self, name: &str, last: u8, more: &[&str]) {
        let token = self.mesh.taut_ok(&["token", "--service-account", name]);
        let (address, outbound, peer, admin) = (self.mesh.address(last), self.at(last, 15001), self.at(last, 15008), self.at(last, 15000));
        let fixed = ["--name", name, "--service-account", name, "--address", &address, "--outbound", &outbound, "--peer", &peer, "--admin", &admin];
        let rest = ["--handover", "off", "--drain", "1", "--token", token.trim()];
        let all: Vec<String> = fixed.iter().chain(&rest).chain(more).map(|&word| word.to_owned()).collect();
        self.mesh.proxy(name, &all);
    }

    /// Requests of two kinds, and TCP connections that are to be kept.
    fn load(&self) -> Load {
        let (outbound, upstream) = (self.at(10, 15001), self.at(10, 7000));
        let load = Load::start(&[
            ("HTTP/1.1, kept connections, GET and POST", 3, Box::new(Http1::kept(&outbound, "shop:8081"))),
            ("HTTP/1.1, a connection for each request", 2, Box::new(Http1::fresh(&outbound, "shop:8081"))),
            ("HTTP/2, streams on kept connections", 2, Box::new(Http2::new(&outbound, "shop:8082"))),
            ("TCP, mutual TLS between the proxies", 6, Box::new(Ping::new(&upstream))),
        ]);
        load.settle();
        load
    }

    fn trust(&self) -> Value {
        serde_json::from_str(&self.mesh.taut_ok(&["trust", "-o", "json"])).unwrap()
    }

    fn root(&self) -> String {
        self.trust()["roots"][0]["fingerprint"].as_str().unwrap().to_owned()
    }

    fn leaf(&self, uid: &str) -> String {
        let trust = self.trust();
        let of = |proxy: &&Value| proxy["uid"] == uid;
        trust["proxies"]
            .as_array()
            .unwrap()
            .iter()
            .find(of)
            .map(|proxy| proxy["leaf"]["serial"].as_str().unwrap_or_default().to_owned())
            .unwrap_or_default()
    }

    fn request(&self) -> u16 {
        Connection::open(&self.at(10, 15001)).unwrap().get("http://shop:8081/", "shop:8081", &[]).unwrap().status
    }
}

fn said(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn a_rotation_of_the_root_under_load_fails_nothing() {
    let pair = Pair::start(Mesh::start());
    let (root, leaf) = (pair.root(), pair.leaf("default/shop"));
    let load = pair.load();
    let rotated = pair.mesh.taut(&["trust", "rotate", "--wait", "60s"]);
    assert!(rotated.status.success(), "{}\n{}", said(&rotated), pair.mesh.log("control-plane"));
    load.settle();
    let counts = load.stop();
    println!("{}{counts}", said(&rotated));
    assert_eq!(counts.failed(), 0, "{counts}");
    let trust = pair.trust();
    assert_eq!(trust["roots"].as_array().unwrap().len(), 1);
    assert!(pair.root() != root && pair.leaf("default/shop") != leaf && trust["rotation"].is_null(), "{trust:#}");
    // Who comes now joins by the new root, with the kubeconfig that names it.
    assert_eq!((pair.request(), pair.mesh.taut(&["status"]).status.success()), (200, true));
}

#[test]
fn a_rotation_survives_restarts_and_is_taken_back() {
    let mut pair = Pair::start(Mesh::start());
    let root = pair.root();
    let begun = pair.mesh.taut(&["trust", "rotate", "--wait", "0s"]);
    assert!(begun.status.success(), "{}", said(&begun));
    pair.mesh.kill9("control-plane");
    pair.mesh.up();
    let stage = pair.trust()["rotation"]["stage"].clone();
    assert!(stage.is_string() || pair.root() != root, "{stage}");
    eventually(LONG, "the rotation is over", || match pair.trust()["rotation"].is_null() {
        true => Ok(()),
        false => Err(format!("{:#}", pair.trust())),
    });
    let second = pair.root();
    assert_ne!(second, root);
    assert_eq!(pair.request(), 200);
    // A proxy that stands still keeps the next one from being signed with; so it can be taken back.
    support::signal(pair.mesh.pid("web"), nix::sys::signal::Signal::SIGSTOP);
    let begun = pair.mesh.taut(&["trust", "rotate", "--wait", "1s"]);
    let waits = said(&begun);
    let aborted = pair.mesh.taut(&["trust", "rotate", "--abort"]);
    support::signal(pair.mesh.pid("web"), nix::sys::signal::Signal::SIGCONT);
    assert!(waits.contains("waiting for 1: default/web") && begun.status.code() == Some(1), "{waits}");
    assert!(aborted.status.success(), "{}", said(&aborted));
    assert_eq!(pair.root(), second);
}

#[test]
fn leaves_of_seconds_are_renewed_under_load_and_fail_nothing() {
    let mut mesh = Mesh::new();
    mesh.leaf_lifetime = Some("8s");
    mesh.up();
    let pair = Pair::start(mesh);
    let load = pair.load();
    for _ in 0..3 {
        let before = [pair.leaf("default/web"), pair.leaf("default/shop")];
        eventually(PATIENCE, "both leaves are new", || match [pair.leaf("default/web"), pair.leaf("default/shop")] {
            [web, shop] if web != before[0] && shop != before[1] => Ok(()),
            leaves => Err(format!("{leaves:?}")),
        });
        load.settle();
    }
    let counts = load.stop();
    println!("{counts}");
    assert_eq!(counts.failed(), 0, "{counts}");
}

/// A number that the environment may name, for runs that are longer and larger than those of every day.
fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

/// Rotation of everything at once: leaves every `TAUT_TRUST_LEAF_SECONDS / 2`, and the root in the midst of it.
#[test]
fn leaves_and_the_root_change_under_paced_load_and_long_streams_and_nothing_fails() {
    let (rate, streams, leaf) = (setting("TAUT_TRUST_RATE", 50), setting("TAUT_TRUST_STREAMS", 10), setting("TAUT_TRUST_LEAF_SECONDS", 8));
    let rotations = setting("TAUT_TRUST_ROTATIONS", 3);
    let mut mesh = Mesh::new();
    mesh.leaf_lifetime = Some(Box::leak(format!("{leaf}s").into_boxed_str()));
    mesh.up();
    let pair = Pair::start(mesh);
    let (outbound, upstream, clients) = (pair.at(10, 15001), pair.at(10, 7000), rate.div_ceil(50));
    let every = Duration::from_secs_f64(clients as f64 / rate as f64);
    let begun = Instant::now();
    let load = Load::start(&[
        ("HTTP/1.1, paced", usize::try_from(clients).unwrap(), Box::new(Http1::paced(&outbound, "shop:8081", every))),
        ("TCP, long-lived, mutual TLS between the proxies", usize::try_from(streams).unwrap(), Box::new(Ping::seldom(&upstream))),
    ]);
    load.settle();
    let renewals = |count: u64, what: &str| {
        let serial = |last: u8| pair.mesh.admin(last, "/config").json()["certificate"]["serial"].as_u64().unwrap_or_default();
        let before = [serial(10), serial(20)];
        eventually(Duration::from_secs(leaf * (count + 2)), what, || match [serial(10), serial(20)] {
            now if now[0] >= before[0] + count && now[1] >= before[1] + count => Ok(now[0] - before[0]),
            now => Err(format!("{before:?} {now:?}")),
        })
    };
    let root = pair.root();
    renewals(rotations.div_ceil(2), "leaves are renewed");
    let rotated = pair.mesh.taut(&["trust", "rotate", "--wait", "60s"]);
    assert!(rotated.status.success() && pair.root() != root, "{}", said(&rotated));
    renewals(rotations.div_ceil(2), "leaves of the new root are renewed");
    load.settle();
    let (seconds, counts) = (begun.elapsed().as_secs_f64(), load.stop());
    let measured = counts.rounds("HTTP") as f64 / seconds;
    println!("{seconds:.0} s, {measured:.0} requests/s, {streams} streams, a leaf every {} s, one new root\n{counts}", leaf / 2);
    assert_eq!(counts.failed(), 0, "{counts}");
    assert!(measured > rate as f64 * 0.5, "{measured} requests/s of {rate}");
}

/// The authority is away for the life of a leaf, less a margin of a tenth.
#[test]
fn traffic_outlives_the_authority_for_the_life_of_a_leaf_and_the_alarm_is_heard_before_its_end() {
    let life = setting("TAUT_TRUST_OUTAGE_LEAF_SECONDS", 36);
    let mut mesh = Mesh::new();
    mesh.leaf_lifetime = Some(Box::leak(format!("{life}s").into_boxed_str()));
    mesh.up();
    let mut pair = Pair::start(mesh);
    let load = pair.load();
    let gauge = |mesh: &Mesh, last: u8, name: &str| {
        let text = mesh.admin(last, "/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' '))).unwrap_or_default().to_owned();
        line.parse::<f64>().unwrap_or_else(|error| panic!("{name} {line:?}: {error}"))
    };
    let left = |mesh: &Mesh| [10, 20].map(|last| gauge(mesh, last, "taut_certificate_expiry_seconds")).into_iter().fold(f64::MAX, f64::min);
    let alarm = |mesh: &Mesh| [10, 20].map(|last| gauge(mesh, last, "taut_certificate_alarm")).into_iter().fold(0.0, f64::max);
    assert_eq!(alarm(&pair.mesh), 0.0);
    pair.mesh.kill9("control-plane");
    let (begun, at_first) = (Instant::now(), left(&pair.mesh));
    let heard = eventually(Duration::from_secs(life), "the alarm is raised", || match alarm(&pair.mesh) {
        0.0 => Err(format!("{} s left", left(&pair.mesh))),
        _ => Ok(left(&pair.mesh)),
    });
    let sidecars = [pair.at(10, 15000), pair.at(20, 15000)];
    let status = pair.mesh.taut_ok(&["status", "--sidecar", &sidecars[0], "--sidecar", &sidecars[1]]);
    assert!(status.contains("the certificate of default/") && status.contains("does not reach the control plane"), "{status}");
    let gone = pair.mesh.taut(&["status"]);
    assert!(gone.status.code() == Some(2) && said(&gone).contains("taut status --sidecar"), "{}", said(&gone));
    // Who comes back asks again within seconds, however short the life.
    let margin = (life as f64 / 10.0).max(8.0);
    eventually(Duration::from_secs(life), "the end is near", || match left(&pair.mesh) {
        left if left <= margin => Ok(()),
        left => Err(format!("{left} s left")),
    });
    let away = begun.elapsed().as_secs_f64();
    assert!(alarm(&pair.mesh) >= 1.0 && pair.request() == 200);
    pair.mesh.up();
    eventually(LONG, "new leaves are held", || match (left(&pair.mesh), alarm(&pair.mesh)) {
        (left, 0.0) if left > life as f64 / 2.0 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    load.settle();
    let counts = load.stop();
    println!(
        "leaves of {life} s with {at_first:.1} s left: the authority was away for {away:.1} s, the alarm came {heard:.1} s before the end\n{counts}"
    );
    assert_eq!(counts.failed(), 0, "{counts}");
    assert!(heard > margin, "{heard}");
    let status = pair.mesh.taut_ok(&["trust"]);
    assert!(status.starts_with("✓ nothing is near its end"), "{status}");
}

#[test]
fn a_revoked_workload_is_cut_off_and_needs_a_new_token() {
    let pair = Pair::start(Mesh::start());
    assert_eq!(pair.request(), 200);
    let load = Load::start(&[("TCP, mutual TLS between the proxies", 2, Box::new(Ping::new(&pair.at(10, 7000))))]);
    load.settle();
    let revoked = pair.mesh.taut(&["trust", "revoke", "default/web"]);
    assert!(revoked.status.success(), "{}", said(&revoked));
    let counts = load.ends();
    assert_eq!(counts.failed(), 2, "both connections end: {counts}");
    eventually(PATIENCE, "requests are refused", || match pair.request() {
        503 => Ok(()),
        status => Err(status.to_string()),
    });
    eventually(PATIENCE, "the control plane lets it in no more", || {
        let log = pair.mesh.log("web");
        if log.contains("revoked") || log.contains("cannot be reached") { Ok(()) } else { Err(log) }
    });
    let nobody = pair.mesh.taut(&["trust", "revoke", "default/nobody"]);
    assert!(!nobody.status.success() && said(&nobody).contains("no connected workload default/nobody"), "{}", said(&nobody));
}

/// Nobody goes on with a server that is not believed any more: neither by a tunnel nor with a request that waits for its answer.
#[test]
fn what_is_under_way_to_a_revoked_server_ends_and_the_records_say_why() {
    let mut pair = Pair::start(Mesh::start());
    let silent = TcpListener::bind(pair.at(40, 8083)).unwrap();
    pair.proxy("silent", 40, &["--service", "silent", "--port", "8083/http"]);
    pair.mesh.wait_ready(3);
    let load = Load::start(&[("TCP, mutual TLS between the proxies", 2, Box::new(Ping::new(&pair.at(10, 7000))))]);
    load.settle();
    let mut waiting = TcpStream::connect(pair.at(10, 15001)).unwrap();
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    waiting.write_all(b"POST /slow HTTP/1.1\r\nhost: silent:8083\r\ncontent-length: 0\r\n\r\n").unwrap();
    // The one with the request, not one that only looks whether somebody is there.
    let mut head = [0; 4];
    let _asked = silent.incoming().map(Result::unwrap).find_map(|mut asked| asked.read_exact(&mut head).is_ok().then_some(asked));
    assert_eq!(&head, b"POST");
    for name in ["default/silent", "default/shop"] {
        let revoked = pair.mesh.taut(&["trust", "revoke", name]);
        assert!(revoked.status.success(), "{}", said(&revoked));
    }
    let since = Instant::now();
    let mut answer = [0; 4096];
    let count = waiting.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("x-taut-reason: peer_disowned"), "{answer}");
    let counts = load.ends();
    assert_eq!(counts.failed(), 2, "both tunnels end: {counts}");
    println!("revoked, and {:.0} ms later nothing was under way to them", since.elapsed().as_secs_f64() * 1000.0);
    eventually(PATIENCE, "the records name it", || {
        let records = pair.mesh.admin(10, "/records").body;
        if records.matches("\"peer_disowned\"").count() >= 3 { Ok(()) } else { Err(records) }
    });
    eventually(PATIENCE, "nobody speaks to it any more", || match pair.request() {
        503 => Ok(()),
        status => Err(status.to_string()),
    });
}

/// From one name of the trust domain to another while everybody calls everybody, held to a policy that names the old one.
#[test]
fn a_trust_domain_is_renamed_under_load_and_nothing_fails() {
    let mut mesh = Mesh::new();
    mesh.trust_domain = Some("old.example");
    mesh.up();
    let mut pair = Pair::start(mesh);
    let identity = |pair: &Pair, last: u8| pair.mesh.admin(last, "/config").json()["certificate"]["identity"].as_str().unwrap_or_default().to_owned();
    pair.mesh.apply_text(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: shop }\nspec:\n  selector: { matchLabels: { app: shop } }\n  rules:\n  - from: [{ source: { principals: [old.example/ns/default/sa/web] } }]\n---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: { name: default }\nspec: { mtls: { mode: STRICT } }\n",
    );
    let load = pair.load();
    // Both names, before and after: whoever comes first to the new one is known by then.
    pair.mesh.apply_text(
        "apiVersion: tautline.dev/v1alpha1\nkind: MeshSettings\nmetadata: { name: mesh }\nspec: { trustDomainAliases: [old.example, new.example] }\n",
    );
    pair.mesh.taut_ok(&["wait", "--for=live", "--timeout", "20s"]);
    pair.mesh.kill9("control-plane");
    pair.mesh.trust_domain = Some("new.example");
    pair.mesh.up();
    eventually(LONG, "everybody has a certificate of the new name", || {
        let (shop, web) = (identity(&pair, 20), identity(&pair, 10));
        let renamed =
            [(&shop, "shop"), (&web, "web")].iter().all(|(found, account)| **found == format!("spiffe://new.example/ns/default/sa/{account}"));
        if renamed { Ok(()) } else { Err(format!("{shop} {web}\n{}", pair.mesh.log("web"))) }
    });
    load.settle();
    let counts = load.stop();
    println!("from old.example to new.example\n{counts}");
    assert_eq!(counts.failed(), 0, "{counts}");
    let trust = pair.mesh.taut_ok(&["trust"]);
    assert!(trust.contains("trust domain new.example\nalso called old.example\n"), "{trust}");
    // The old name is given up: the policy that names it lets in nobody any more.
    assert_eq!(pair.request(), 200);
    pair.mesh.apply_text("apiVersion: tautline.dev/v1alpha1\nkind: MeshSettings\nmetadata: { name: mesh }\nspec: { trustDomainAliases: [] }\n");
    eventually(PATIENCE, "the old name means nobody", || match pair.request() {
        403 => Ok(()),
        status => Err(status.to_string()),
    });
}

/// Runs `openssl` and gives what it says; it must succeed.
fn openssl(directory: &Path, arguments: &str) {
    let done = Command::new("openssl").current_dir(directory).args(arguments.split(' ')).output().unwrap();
    assert!(done.status.success(), "openssl {arguments}: {}", said(&done));
}

/// A directory of the mesh's with [`bank`] in it.
fn bank_of(mesh: &Mesh, days: &str) -> PathBuf {
    let directory = mesh.directory.path().join("bank");
    std::fs::create_dir(&directory).unwrap();
    bank(&directory, days);
    directory
}

/// An authority as an operator makes one with openssl: RSA, since that is what many have.
fn bank(directory: &Path, days: &str) {
    let write = |name: &str, text: &str| std::fs::write(directory.join(name), text).unwrap();
    write("ca.ext", "basicConstraints=critical,CA:true,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n");
    openssl(directory, "req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root-cert.pem -subj /O=Bank/CN=root -days 400 -sha256");
    openssl(directory, "req -newkey rsa:2048 -nodes -keyout ca-key.pem -out ca.csr -subj /O=Bank/OU=mesh/CN=intermediate");
    openssl(
        directory,
        &format!("x509 -req -in ca.csr -CA root-cert.pem -CAkey root.key -CAcreateserial -out ca-cert.pem -days {days} -extfile ca.ext"),
    );
    std::fs::copy(directory.join("ca-cert.pem"), directory.join("cert-chain.pem")).unwrap();
}

#[test]
fn a_mesh_goes_over_to_an_authority_made_with_openssl() {
    if !has("openssl") {
        return eprintln!("skipped: openssl is not installed");
    }
    let pair = Pair::start(Mesh::start());
    let directory = bank_of(&pair.mesh, "30");
    let load = pair.load();
    let rotated = pair.mesh.taut(&["trust", "rotate", "--wait", "60s", "--to", directory.to_str().unwrap()]);
    assert!(rotated.status.success(), "{}\n{}", said(&rotated), pair.mesh.log("control-plane"));
    load.settle();
    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "{counts}");
    assert_eq!(pair.trust()["rootKey"], "offline");
    assert_eq!(pair.request(), 200);
}

/// The operator's own authority, which nobody has renewed in time: the control plane is up, and says so itself.
#[test]
fn a_certificate_near_its_end_is_told_by_status_and_metric_until_it_is_renewed() {
    if !has("openssl") {
        return eprintln!("skipped: openssl is not installed");
    }
    let mut mesh = Mesh::new();
    let directory = bank_of(&mesh, "300");
    let renewed = std::fs::read(directory.join("ca-cert.pem")).unwrap();
    // Years old, with a month left of it.
    let names = "[any]\norganizationName=optional\norganizationalUnitName=optional\ncommonName=optional\n";
    let config = format!("[ca]\ndefault_ca=mesh\n[mesh]\ndatabase=index.txt\nserial=number\nnew_certs_dir=.\ndefault_md=sha256\npolicy=any\n{names}");
    for (name, text) in [("ca.conf", config.as_str()), ("index.txt", ""), ("number", "0a\n")] {
        std::fs::write(directory.join(name), text).unwrap();
    }
    let end = text(&Command::new("date").args(["-u", "-d", "+30 days", "+%Y%m%d%H%M%SZ"]).output().unwrap().stdout);
    openssl(
        &directory,
        &format!(
            "ca -batch -notext -config ca.conf -cert root-cert.pem -keyfile root.key -in ca.csr -extfile ca.ext -startdate 20200101000000Z -enddate {} -out ca-cert.pem",
            end.trim()
        ),
    );
    let chain = |certificate: &[u8]| {
        std::fs::write(directory.join("ca-cert.pem"), certificate).unwrap();
        std::fs::write(directory.join("cert-chain.pem"), certificate).unwrap();
    };
    chain(&std::fs::read(directory.join("ca-cert.pem")).unwrap());
    mesh.authority = Some(directory.clone());
    mesh.up();
    let kubeconfig = std::fs::read_to_string(mesh.kubeconfig()).unwrap();
    let bearer = kubeconfig.lines().find_map(|line| line.trim().strip_prefix("token: ")).map(|token| format!("Bearer {}", token.trim_matches('"')));
    let alarms = || {
        let address = format!("{}:15080", mesh.address(250));
        let headers = [("authorization", bearer.as_deref().unwrap_or_default())];
        let metrics = Connection::open(&address).unwrap().get("/metrics", &address, &headers).unwrap().body;
        let found = metrics.lines().find_map(|line| line.strip_prefix("taut_control_certificate_alarms ")?.parse::<f64>().ok());
        found.unwrap_or_else(|| panic!("{metrics}"))
    };
    let told = "the intermediate certificate expires at";
    let (status, trust) = (said(&mesh.taut(&["status"])), said(&mesh.taut(&["trust"])));
    assert!(status.contains(told) && trust.contains(told), "{status}\n{trust}");
    assert_eq!(alarms(), 1.0);
    chain(&renewed);
    eventually(PATIENCE, "it was renewed", || match (said(&mesh.taut(&["status"])), alarms()) {
        (status, 0.0) if !status.contains(told) => Ok(()),
        (status, alarms) => Err(format!("{alarms} {status}")),
    });
}

/// A list beside the plugged-in authority, as Istio's secret has it: taken up when it comes, and told of when it is too old.
#[test]
fn a_list_beside_a_plugged_in_authority_revokes_and_one_past_its_time_is_told_of() {
    if !has("openssl") {
        return eprintln!("skipped: openssl is not installed");
    }
    let mut mesh = Mesh::new();
    let directory = bank_of(&mesh, "300");
    mesh.authority = Some(directory.clone());
    mesh.up();
    let pair = Pair::start(mesh);
    assert_eq!(pair.request(), 200);
    let config = "[ca]\ndefault_ca=mesh\n[mesh]\ndatabase=index.txt\ncrlnumber=number\ndefault_md=sha256\n";
    std::fs::write(directory.join("ca.conf"), config).unwrap();
    std::fs::write(directory.join("number"), "01\n").unwrap();
    let list = |serial: &str, how: &str| {
        std::fs::write(directory.join("index.txt"), format!("R\t400101000000Z\t260101000000Z\t{}\tunknown\t/CN=web\n", serial.to_uppercase()))
            .unwrap();
        openssl(&directory, &format!("ca -config ca.conf -gencrl -keyfile ca-key.pem -cert ca-cert.pem -out new.pem {how}"));
        std::fs::rename(directory.join("new.pem"), directory.join("ca-crl.pem")).unwrap();
    };
    let serial = pair.leaf("default/web");
    list(&serial, "-crldays 30");
    eventually(PATIENCE, "the list counts", || match pair.request() {
        503 => Ok(()),
        status => Err(format!("{status}\n{}", pair.mesh.log("control-plane"))),
    });
    let refused = pair.mesh.admin(20, "/records").body;
    assert!(refused.contains("the peer's certificate was revoked") || refused.contains("is revoked (serial number"), "{refused}");
    let trust = || said(&pair.mesh.taut(&["trust"]));
    list(&serial, "-crlsec 1");
    eventually(PATIENCE, "it is told that the list is too old", || match trust() {
        text if text.contains("should have been followed by a newer one") && text.contains("ca-crl.pem") => Ok(()),
        text => Err(text),
    });
    assert_eq!(pair.request(), 503, "what it revokes stays revoked");
    std::fs::write(directory.join("ca-crl.pem"), "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n").unwrap();
    eventually(PATIENCE, "it is told that the list cannot be read", || match trust() {
        text if text.contains("holds a list that cannot be read") && text.contains("stays revoked") => Ok(()),
        text => Err(text),
    });
    assert_eq!(pair.request(), 503);
}

/// A certificate of `shop`'s own mesh would be needed to get in; to look at the handshake it is not.
fn handshake(to: &str, options: &str) -> String {
    let mut command = Command::new("timeout");
    command.args(["10", "openssl", "s_client", "-connect", to, "-alpn", "taut/http1"]).args(options.split(' ').filter(|word| !word.is_empty()));
    said(&command.stdin(Stdio::null()).output().unwrap())
}

#[test]
fn the_peer_port_speaks_nothing_weak() {
    if !has("openssl") {
        return eprintln!("skipped: openssl is not installed");
    }
    let pair = Pair::start(Mesh::start());
    let peer = pair.at(20, 15008);
    let modern = handshake(&peer, "");
    assert!(modern.contains("TLSv1.3"), "{modern}");
    for (options, why) in [("-tls1_2", "TLS 1.2"), ("-tls1_1", "TLS 1.1"), ("-tls1_3 -ciphersuites TLS_AES_128_CCM_SHA256", "CCM")] {
        let refused = handshake(&peer, options);
        assert!(refused.contains("alert") || refused.contains("no protocols available"), "{why}: {refused}");
        assert!(refused.contains("no peer certificate available"), "{why}: {refused}");
    }
    let version = text(&Command::new("openssl").arg("version").output().unwrap().stdout);
    match handshake(&peer, "-groups X25519MLKEM768") {
        hybrid if hybrid.contains("Negotiated TLS1.3 group: X25519MLKEM768") => println!("{version}negotiates X25519MLKEM768"),
        old if *version < *"OpenSSL 3.5" => eprintln!("skipped: {version} knows no X25519MLKEM768: {}", old.lines().next().unwrap_or_default()),
        other => panic!("{version}{other}"),
    }
    // Nobody without a certificate of the mesh has got further than the handshake.
    let records = pair.mesh.admin(20, "/records").body;
    assert!(records.contains("handshake_failed"), "{records}");
    testssl(&pair, &peer);
}

/// What it rates as low or worse, apart from what concerns browsers and public names, is a weakness.
fn testssl(pair: &Pair, peer: &str) {
    if !has("testssl") && !has("testssl.sh") {
        return eprintln!("skipped: testssl.sh is not installed");
    }
    let program = if has("testssl.sh") { "testssl.sh" } else { "testssl" };
    let report = pair.mesh.directory.path().join("testssl.json");
    let mut command = Command::new("timeout");
    command.args(["300", program, "--quiet", "--color", "0", "--warnings", "off", "--protocols", "--server-defaults", "--vulnerable", "--fs"]);
    let done = command.args(["--jsonfile", report.to_str().unwrap(), peer]).stdin(Stdio::null()).output().unwrap();
    let found: Vec<Value> =
        serde_json::from_str(&std::fs::read_to_string(&report).unwrap_or_default()).unwrap_or_else(|error| panic!("{error}: {}", said(&done)));
    let value = |id: &str| {
        found.iter().find(|one| one["id"] == id).map(|one| text(one["finding"].as_str().unwrap_or_default().as_bytes())).unwrap_or_default()
    };
    println!("testssl: {} findings; TLS1_3: {}; TLS1_2: {}", found.len(), value("TLS1_3"), value("TLS1_2"));
    assert!(value("TLS1_3").starts_with("offered") && value("TLS1_2").starts_with("not offered"), "{found:#?}");
    let weak = |one: &&Value| matches!(one["severity"].as_str(), Some("LOW" | "MEDIUM" | "HIGH" | "CRITICAL"));
    // The certificate is the mesh's own, for identities and not for names, and short-lived; no browser and no public authority is concerned.
    let of_the_certificate =
        |one: &&Value| one["id"].as_str().is_some_and(|id| id.starts_with("cert") || id.starts_with("DNS_CAA") || id.starts_with("OCSP"));
    let weaknesses: Vec<&Value> = found.iter().filter(weak).filter(|one| !of_the_certificate(one)).collect();
    assert!(weaknesses.is_empty(), "{weaknesses:#?}");
}

//! What must survive: a control plane that is killed under load, a replica that is killed, starts in the wrong order, broken
//! files, ports in use, bad tokens, and who may connect at all.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use nix::sys::signal::Signal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{Client, Connection, Member, Mesh, PATIENCE, bookstore, eventually, text};

/// Requests at a steady rate through a sidecar until told to stop: how many, and which failed.
fn steady<T>(mesh: &mut Mesh, from: u8, url: &str, rate: u64, act: impl FnOnce(&mut Mesh) -> T) -> (usize, Vec<String>, T) {
    let stop = AtomicBool::new(false);
    let outbound = mesh.outbound(from);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let (stop, outbound) = (&stop, outbound.clone());
                scope.spawn(move || load(&outbound, url, rate / 4, stop))
            })
            .collect();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(mesh)));
        stop.store(true, Ordering::Relaxed);
        let (mut sent, mut failed) = (0, Vec::new());
        for client in clients {
            let (n, bad) = client.join().expect("client thread");
            sent += n;
            failed.extend(bad);
        }
        (sent, failed, result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn load(outbound: &str, url: &str, rate: u64, stop: &AtomicBool) -> (usize, Vec<String>) {
    let host = url.trim_start_matches("http://").split('/').next().unwrap();
    let (mut connection, mut sent, mut failed) = (Connection::open(outbound).unwrap(), 0, Vec::new());
    let started = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let due = started + Duration::from_secs_f64(sent as f64 / rate as f64);
        std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
        if Instant::now() < due {
            continue;
        }
        sent += 1;
        match connection.get(url, host, &[]) {
            Ok(reply) if reply.status == 200 => {}
            Ok(reply) => failed.push(format!("{} {}", reply.status, reply.body.trim())),
            Err(error) => {
                failed.push(error.to_string());
                connection = Connection::open(outbound).unwrap();
            }
        }
    }
    (sent, failed)
}

fn wait(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::thread::park_timeout(until - Instant::now());
    }
}

#[test]
fn the_control_plane_dies_and_comes_back_and_nobody_notices() {
    let seconds: u64 = std::env::var("TAUT_OUTAGE_SECONDS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let mut mesh = Mesh::bookstore();
    let (sent, failed, ()) = steady(&mut mesh, 1, "http://reviews:9080/reviews/0", 200, |mesh| {
        wait(Duration::from_secs(1));
        mesh.kill9("control-plane");
        wait(Duration::from_secs(seconds));
        mesh.up();
        mesh.wait_ready(bookstore().len());
        wait(Duration::from_secs(1));
    });
    println!("control plane away for {seconds} s under 200 requests/s: {sent} sent, {} failed", failed.len());
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn a_killed_replica_costs_no_request_that_is_safe_to_retry() {
    let mut mesh = Mesh::start();
    mesh.apply_text(taut_demo::manifests::BOOKSTORE);
    let members =
        [Member::new("productpage", "v1", 1), Member::new("details", "v1", 2).named("details-a"), Member::new("details", "v1", 3).named("details-b")];
    members.iter().for_each(|m| mesh.run(m));
    mesh.wait_ready(members.len());
    let (sent, failed, ()) = steady(&mut mesh, 1, "http://details:9080/details/0", 200, |mesh| {
        wait(Duration::from_secs(1));
        // `taut run` is the sidecar; its program goes with the address. Both die at once, as when a machine is lost.
        let application = child_of(mesh.pid("details-a"));
        mesh.kill9("details-a");
        support::signal(application, Signal::SIGKILL);
        wait(Duration::from_secs(3));
    });
    println!("one of two replicas killed under 200 requests/s: {sent} sent, {} failed", failed.len());
    assert!(failed.is_empty(), "GET is safe to retry: {failed:?}");
    eventually(PATIENCE, "the dead replica is not ready any more", || {
        let status = mesh.status();
        let dead = status["proxies"].as_array().into_iter().flatten().find(|p| p["uid"] == "default/details-a").cloned();
        match dead {
            None => Ok(()),
            Some(proxy) if proxy["readiness"] != "Ready" => Ok(()),
            Some(proxy) => Err(proxy.to_string()),
        }
    });
}

fn child_of(pid: u32) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("children");
    children.split_whitespace().next().expect("a child").parse().expect("a pid")
}

#[test]
fn a_sidecar_that_starts_before_the_control_plane_waits_and_says_so() {
    let mut mesh = Mesh::new();
    mesh.run(&Member::new("details", "v1", 2));
    eventually(PATIENCE, "the sidecar says that it waits", || match mesh.log("details-v1") {
        log if log.contains("waiting for the control plane") => Ok(()),
        log => Err(log),
    });
    mesh.up();
    mesh.wait_ready(1);
}

#[test]
fn a_stopped_workload_drains_and_is_forgotten() {
    let mut mesh = Mesh::start();
    mesh.apply_text(taut_demo::manifests::BOOKSTORE);
    let members =
        [Member::new("productpage", "v1", 1), Member::new("details", "v1", 2).named("details-a"), Member::new("details", "v1", 3).named("details-b")];
    members.iter().for_each(|m| mesh.run(m));
    mesh.wait_ready(members.len());
    let (sent, failed, code) = steady(&mut mesh, 1, "http://details:9080/details/0", 200, |mesh| {
        wait(Duration::from_millis(500));
        let code = mesh.terminate("details-a");
        wait(Duration::from_millis(500));
        code
    });
    assert_eq!((code, failed.len()), (Some(0), 0), "{sent} sent, {failed:?}\n{}", mesh.log("details-a"));
    let entries = mesh.taut_ok(&["get", "workloadentries"]);
    assert!(entries.contains("details-b") && !entries.contains("details-a"), "{entries}");
}

#[test]
fn the_first_request_to_a_workload_that_is_ready_is_answered() {
    let mut mesh = Mesh::start();
    let services: Vec<_> = (2..8_u8).map(|last| (last, format!("details-{last}"))).collect();
    for (_, name) in &services {
        let spec = format!("spec: {{ selector: {{ app: {name} }}, ports: [{{ name: http, port: 9080 }}] }}");
        mesh.apply_text(&format!("apiVersion: v1\nkind: Service\nmetadata: {{ name: {name} }}\n{spec}\n"));
    }
    mesh.run(&Member::new("productpage", "v1", 1));
    mesh.wait_ready(1);
    let mut client = Connection::open(&mesh.outbound(1)).unwrap();
    let mut ask = |name: &str| client.get(&format!("http://{name}:9080/details/0"), &format!("{name}:9080"), &[]).unwrap();
    for (ready, (last, name)) in services.iter().enumerate() {
        // Its sidecar knows the service, and nobody who serves it.
        let reply = ask(name);
        assert!(reply.status == 503 && reply.body.contains("no_endpoint"), "{} {}", reply.status, reply.body);
        let mut member = Member::new(name, "v1", *last);
        member.program = [env!("CARGO_BIN_EXE_taut"), "bookstore", "details", "v1", "--address", &mesh.address(*last)].map(str::to_owned).into();
        mesh.run(&member);
        mesh.wait_ready(ready + 2);
        let reply = ask(name);
        assert_eq!(reply.status, 200, "{name}: {}", reply.body);
    }
}

#[test]
fn a_second_signal_ends_a_program_and_its_sidecar_at_once() {
    let mut mesh = Mesh::start();
    for (name, second, code) in [("first", Signal::SIGTERM, 143), ("second", Signal::SIGINT, 130)] {
        let mut member = Member::new("stubborn", "v1", 1).named(name);
        member.ports.clear();
        member.program = ["sh", "-c", "trap 'echo was told' TERM; trap '' INT; while :; do sleep 0.1; done"].map(str::to_owned).into();
        mesh.run(&member);
        mesh.wait_ready(1);
        let (sidecar, program) = (mesh.pid(name), child_of(mesh.pid(name)));
        support::signal(sidecar, Signal::SIGTERM);
        eventually(PATIENCE, "the program is told to end", || mesh.log(name).contains("was told").then_some(()).ok_or_else(|| mesh.log(name)));
        let asked = Instant::now();
        support::signal(sidecar, second);
        let ended = eventually(PATIENCE, "the sidecar ends", || mesh.ended(name).ok_or_else(|| mesh.log(name)));
        // A program has ten seconds to end by itself.
        assert!(ended == code && asked.elapsed() < Duration::from_secs(5), "{ended} after {:?}: {}", asked.elapsed(), mesh.log(name));
        eventually(PATIENCE, "the program is gone", || match std::fs::read_to_string(format!("/proc/{program}/stat")) {
            Ok(stat) if !stat.contains(") Z ") => Err(stat),
            _ => Ok(()),
        });
    }
}

#[test]
fn a_file_that_stops_parsing_leaves_the_last_good_one_live() {
    let mut mesh = Mesh::new();
    let directory = mesh.directory.path().join("config");
    std::fs::create_dir(&directory).unwrap();
    let file = directory.join("mesh.yaml");
    std::fs::write(&file, taut_demo::manifests::BOOKSTORE).unwrap();
    mesh.config = Some(directory.clone());
    mesh.up();
    eventually(PATIENCE, "the directory is loaded", || match mesh.taut_ok(&["get", "services"]) {
        services if services.contains("reviews") => Ok(()),
        services => Err(services),
    });
    std::fs::write(&file, taut_demo::manifests::BOOKSTORE.replace("selector: { app: reviews }", "selektor: { app: reviews }")).unwrap();
    eventually(PATIENCE, "the mistake is in the status", || match mesh.taut_ok(&["status"]) {
        status if status.contains("selektor") && status.contains("mesh.yaml:") => Ok(()),
        status => Err(status),
    });
    assert!(mesh.taut_ok(&["get", "service", "reviews", "-o", "yaml"]).contains("app: reviews"));
    std::fs::write(&file, taut_demo::manifests::BOOKSTORE).unwrap();
    eventually(PATIENCE, "the mistake is gone", || match mesh.taut_ok(&["status"]) {
        status if !status.contains("selektor") => Ok(()),
        status => Err(status),
    });
}

#[test]
fn mistakes_of_the_operator_get_one_clear_line() {
    let mut mesh = Mesh::start();
    let second =
        mesh.taut(&["up", "--dashboard", "off", "--api", &format!("{}:15444", mesh.address(250)), "--grpc", &format!("{}:15014", mesh.address(250))]);
    assert!(!second.status.success() && text(&second.stderr).contains("another control plane"), "{}", text(&second.stderr));
    let elsewhere = mesh.directory.path().join("elsewhere");
    let taken = mesh.taut(&[
        "--state",
        elsewhere.to_str().unwrap(),
        "up",
        "--dashboard",
        "off",
        "--api",
        &format!("{}:15443", mesh.address(250)),
        "--grpc",
        "127.0.0.1:0",
    ]);
    assert!(!taken.status.success() && text(&taken.stderr).contains("15443"), "{}", text(&taken.stderr));
    let missing = mesh.directory.path().join("missing");
    let missing = missing.to_str().unwrap();
    let unreadable = mesh.taut(&[
        "--state",
        elsewhere.to_str().unwrap(),
        "up",
        "--dashboard",
        "off",
        "--config",
        missing,
        "--api",
        "127.0.0.1:0",
        "--grpc",
        "127.0.0.1:0",
    ]);
    assert!(!unreadable.status.success() && text(&unreadable.stderr).contains(missing), "{}", text(&unreadable.stderr));
    let wrong = mesh.taut(&["run", "--service", "x", "--token", "taut1.nonsense", "--", "true"]);
    assert!(!wrong.status.success() && text(&wrong.stderr).contains("token") && !text(&wrong.stderr).contains("nonsense"), "{}", text(&wrong.stderr));
    mesh.kill9("control-plane");
    let nobody = mesh.taut(&["status"]);
    assert_eq!(nobody.status.code(), Some(2));
    assert!(text(&nobody.stderr).contains("taut up"), "{}", text(&nobody.stderr));
}

#[test]
fn only_the_mesh_may_talk_to_a_sidecar() {
    let mut mesh = Mesh::start();
    mesh.apply_text(taut_demo::manifests::BOOKSTORE);
    mesh.run(&Member::new("details", "v1", 2));
    mesh.run(&Member::new("productpage", "v1", 1));
    mesh.wait_ready(2);
    assert_eq!(Client::behind(&mesh, 1).get("http://details:9080/details/0", &[]).unwrap().status, 200);
    let peer = format!("{}:15008", mesh.address(2));
    // Plain text to the mutual-TLS port gets no answer of the application.
    let plain = Connection::open(&peer).unwrap().get("/details/0", "details:9080", &[]);
    assert!(plain.is_err(), "{plain:?}");
    // A TLS client without a certificate is refused, and so is one of another trust domain.
    let connect = |extra: &str| {
        let command = format!(
            "printf 'GET /details/0 HTTP/1.1\\r\\nhost: details:9080\\r\\n\\r\\n' | \
             timeout 5 openssl s_client -connect {peer} -servername 9080.details.default.svc.cluster.local -alpn taut/http1 -quiet {extra} 2>&1"
        );
        text(&std::process::Command::new("sh").args(["-c", &command]).output().unwrap().stdout)
    };
    let nobody = connect("");
    assert!(!nobody.contains("Shakespeare"), "{nobody}");
    let stranger = mesh.directory.path().join("stranger.pem");
    let make = format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj / -addext subjectAltName=URI:spiffe://evil/ns/default/sa/bookinfo-productpage \
         -keyout {0} -out {0}.crt 2>/dev/null && cat {0}.crt >> {0}",
        stranger.display()
    );
    assert!(std::process::Command::new("sh").args(["-c", &make]).status().unwrap().success());
    let refused = connect(&format!("-cert {0} -key {0}", stranger.display()));
    assert!(!refused.contains("Shakespeare"), "{refused}");
}

#[test]
fn certificates_renew_in_place_under_load() {
    let mut mesh = Mesh::new();
    mesh.leaf_lifetime = Some("6s");
    mesh.up();
    mesh.apply_text(taut_demo::manifests::BOOKSTORE);
    mesh.run(&Member::new("details", "v1", 2));
    mesh.run(&Member::new("productpage", "v1", 1));
    mesh.wait_ready(2);
    let (sent, failed, ()) = steady(&mut mesh, 1, "http://details:9080/details/0", 100, |_| wait(Duration::from_secs(10)));
    assert!(sent > 500 && failed.is_empty(), "{sent} sent over more than one lifetime, {failed:?}");
}

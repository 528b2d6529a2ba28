//! Live upgrade with real processes: a new `taut-proxy` takes over from the one that runs, under load, and nobody notices.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "other tests use the rest")]
mod load;
mod support;

use load::{Apps, Http1, Http2, Load, Ping, Socks};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};
use support::{Connection, Mesh, PATIENCE, eventually, text};

const UPGRADES: usize = 10;

/// A client's proxy and a server's proxy, each in its newest generation.
struct Pair {
    mesh: Mesh,
    apps: Apps,
    web: Generations,
    shop: Generations,
}

struct Generations {
    name: &'static str,
    count: usize,
    options: Vec<String>,
}

impl Generations {
    fn current(&self) -> String {
        format!("{}-{}", self.name, self.count)
    }
}

impl Pair {
    fn start() -> Self {
        Self::start_in(Mesh::start())
    }

    fn start_in(mesh: Mesh) -> Self {
        let apps = Apps::start(&mesh.address(20), &mesh.address(30));
        let at = |last, port: u16| format!("{}:{port}", mesh.address(last));
        let options = |name: &str, last: u8, more: &[&str]| {
            let door = mesh.directory.path().join(format!("{name}.sock"));
            let mut all: Vec<String> = ["--name", name, "--address", &mesh.address(last), "--outbound", &at(last, 15001), "--peer", &at(last, 15008)]
                .into_iter()
                .chain(["--admin", &at(last, 15000), "--handover", door.to_str().unwrap(), "--drain", "2", "--workers", "2"])
                .map(str::to_owned)
                .collect();
            all.extend(more.iter().map(|&word| word.to_owned()));
            all
        };
        let ports = ["--port", "7000/tcp", "--port", "8081/http", "--port", "8082/http2"];
        let shop = options("shop", 20, &[&["--service", "shop", "--expose", &at(20, 9081)][..], &ports].concat());
        let web = options("web", 10, &["--upstream", &format!("shop:7000={}", at(10, 7000))]);
        let mut pair = Self {
            apps,
            web: Generations { name: "web", count: 0, options: web },
            shop: Generations { name: "shop", count: 0, options: shop },
            mesh,
        };
        for generations in [&pair.shop, &pair.web] {
            let token = pair.mesh.taut_ok(&["token"]);
            pair.mesh.proxy(&generations.current(), &[&generations.options[..], &["--token".to_owned(), token.trim().to_owned()]].concat());
        }
        pair.mesh.wait_ready(2);
        pair
    }

    fn at(&self, last: u8, port: u16) -> String {
        format!("{}:{port}", self.mesh.address(last))
    }

    /// A whole upgrade of one side, from the start of the successor to its word that it has taken over. How long that took.
    fn upgrade(&mut self, side: fn(&mut Self) -> &mut Generations) -> Duration {
        let started = Instant::now();
        side(self).count += 1;
        let name = side(self).current();
        let options = [&side(self).options[..], &["--replace".to_owned()]].concat();
        self.mesh.proxy(&name, &options);
        self.says(&name, "took over");
        started.elapsed()
    }

    /// One whose application takes its time to answer the probe, which is waited for before it takes over. It is asked on the first port.
    fn slow_successor(&self, probe: &str) -> Vec<String> {
        let options: Vec<String> = self.shop.options.iter().filter(|word| *word != "7000/tcp").cloned().collect();
        let spare = options.windows(2).position(|pair| pair == ["--port", "--port"]).unwrap();
        [&options[..spare], &options[spare + 1..], &["--replace", "--probe", probe].map(str::to_owned)].concat()
    }

    fn says(&mut self, name: &str, what: &str) {
        eventually(PATIENCE, &format!("{name} says {what:?}"), || {
            let log = self.mesh.log(name);
            match (log.contains(what), self.mesh.ended(name)) {
                (true, _) => Ok(()),
                (false, Some(code)) => panic!("{name} has ended with {code}\n{log}"),
                (false, None) => Err(log),
            }
        });
    }

    fn end(&mut self, name: &str) -> i32 {
        let mut code = None;
        eventually(PATIENCE, &format!("{name} ends"), || {
            code = self.mesh.ended(name);
            code.map(drop).ok_or_else(|| self.mesh.log(name))
        });
        code.unwrap()
    }

    fn request(&self) -> u16 {
        Connection::open(&self.at(10, 15001)).unwrap().get("http://shop:8081/", "shop:8081", &[]).unwrap().status
    }
}

#[test]
fn ten_upgrades_under_load_fail_no_request() {
    let mut pair = Pair::start();
    let (outbound, exposed, upstream) = (pair.at(10, 15001), pair.at(20, 9081), pair.at(10, 7000));
    let load = Load::start(&[
        ("HTTP/1.1, kept connections, GET and POST", 4, Box::new(Http1::kept(&outbound, "shop:8081"))),
        ("HTTP/1.1, a connection for each request", 2, Box::new(Http1::fresh(&outbound, "shop:8081"))),
        ("HTTP/1.1, kept connections, mostly idle", 4, Box::new(Http1::idle(&outbound, "shop:8081"))),
        ("HTTP/2, streams on kept connections", 2, Box::new(Http2::new(&outbound, "shop:8082"))),
        ("TCP, plain on both sides, by SOCKS5", 3, Box::new(Socks::new(&outbound, &pair.apps.outside))),
        ("TCP, plain on both sides, exposed port", 3, Box::new(Ping::new(&exposed))),
        ("TCP, plain on both sides, half a megabyte each", 2, Box::new(Ping::bulk(&exposed))),
        ("TCP, mutual TLS between the proxies", 3, Box::new(Ping::new(&upstream))),
    ]);
    load.settle();
    let mut took = Vec::new();
    for turn in 1..=UPGRADES {
        took.push(pair.upgrade(|pair| &mut pair.shop));
        took.push(pair.upgrade(|pair| &mut pair.web));
        load.settle();
        // Those in between have nothing that keeps them: what could move has moved, and the rest is older.
        for name in [format!("web-{}", turn - 1), format!("shop-{}", turn - 1)] {
            if turn > 1 {
                assert_eq!(pair.end(&name), 0, "{}", pair.mesh.log(&name));
            }
        }
    }
    // The first two live on for connections that are under TLS of their own.
    for name in ["web-0", "shop-0"] {
        assert_eq!(pair.mesh.ended(name), None, "{}", pair.mesh.log(name));
    }
    let counts = load.stop();
    took.sort_unstable();
    let (fastest, median, slowest) = (took[0], took[took.len() / 2], took[took.len() - 1]);
    println!(
        "{UPGRADES} upgrades of both proxies of a path under load, each in {fastest:.0?} to {slowest:.0?}, half of them within {median:.0?}\n{counts}"
    );
    assert_eq!(counts.failed(), 0, "{counts}");
    // With their connections gone, they end.
    for name in ["web-0", "shop-0"] {
        assert_eq!(pair.end(name), 0, "{}", pair.mesh.log(name));
    }
    let status = pair.mesh.status();
    let ready = status["proxies"].as_array().unwrap().iter().filter(|proxy| proxy["readiness"] == "Ready").count();
    assert_eq!(ready, 2, "{status:#}");
}

#[test]
fn a_successor_that_dies_changes_nothing_and_a_second_one_is_refused() {
    let mut pair = Pair::start();
    let slow = pair.slow_successor("/hang");
    pair.mesh.proxy("slow", &slow);
    pair.says("slow", "prepares to take over");
    let hasty = [&pair.shop.options[..], &["--replace".to_owned()]].concat();
    pair.mesh.proxy("hasty", &hasty);
    assert_eq!(pair.end("hasty"), 1);
    assert!(pair.mesh.log("hasty").contains("another successor is taking over already"), "{}", pair.mesh.log("hasty"));
    pair.mesh.kill9("slow");
    pair.says("shop-0", "this proxy goes on");
    assert_eq!(pair.request(), 200);
    pair.upgrade(|pair| &mut pair.shop);
    assert_eq!((pair.end("shop-0"), pair.request()), (0, 200));
}

#[test]
fn a_successor_whose_predecessor_dies_goes_on_with_its_sockets() {
    let mut pair = Pair::start();
    let slow = pair.slow_successor("/slow");
    pair.mesh.proxy("slow", &slow);
    pair.says("slow", "connected to the control plane");
    pair.mesh.kill9("shop-0");
    // A connection that comes now waits in the socket that both had.
    assert_eq!(pair.request(), 200);
    pair.says("slow", "the proxy that ran is gone");
}

#[test]
fn what_stays_behind_still_obeys_policies() {
    let mut pair = Pair::start();
    let upstream = pair.at(10, 7000);
    let load = Load::start(&[("TCP, mutual TLS between the proxies", 1, Box::new(Ping::new(&upstream)))]);
    load.settle();
    pair.upgrade(|pair| &mut pair.shop);
    load.settle();
    pair.mesh.apply_text(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: nobody, namespace: default }\n\
         spec: { action: DENY, rules: [{ to: [{ operation: { ports: ['7000'] } }] }] }\n",
    );
    let counts = load.ends();
    assert_eq!(counts.failed(), 1, "{counts}");
    assert_eq!(pair.end("shop-0"), 0);
    assert!(pair.mesh.log("shop-1").contains("took over"));
}

#[test]
fn an_operator_upgrades_with_one_command() {
    let mut mesh = Mesh::start();
    let notify = mesh.directory.path().join("notify");
    let manager = UnixDatagram::bind(&notify).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    mesh.notify = Some(notify);
    let mut pair = Pair::start_in(mesh);
    let told = || {
        let mut message = [0; 200];
        let length = manager.recv(&mut message).unwrap();
        text(&message[..length])
    };
    // In no order: each says it when it serves.
    let first = [told(), told()];
    assert!(["web-0", "shop-0"].iter().all(|name| first.contains(&format!("MAINPID={}\nREADY=1\n", pair.mesh.pid(name)))), "{first:?}");
    let door = pair.mesh.directory.path().join("web.sock");
    let upgrade = |pair: &Pair| pair.mesh.proxy_output(&["--upgrade", "--handover", door.to_str().unwrap()]);
    let done = upgrade(&pair);
    let said = text(&done.stdout);
    println!("{said}{}", text(&done.stderr));
    assert!(done.status.success() && said.starts_with("taut-proxy ") && said.contains(") has taken over; "), "{said}{}", text(&done.stderr));
    assert!(said.contains(told().trim_start_matches("MAINPID=").split('\n').next().unwrap()), "{said}");
    assert_eq!((pair.end("web-0"), pair.request()), (0, 200));
    // The successor, which is nobody's child here, is replaced just the same, and stopped by its number.
    let again = upgrade(&pair);
    let process = text(&again.stdout).split("(process ").nth(1).and_then(|rest| rest.split(')').next()?.parse().ok()).unwrap();
    assert_eq!(pair.request(), 200);
    support::signal(process, nix::sys::signal::Signal::SIGTERM);
    eventually(PATIENCE, "the door is closed", || match door.exists() {
        false => Ok(()),
        true => Err("it is still there".to_owned()),
    });
    // Without a control plane there is no certificate for a successor, and nothing changes.
    let token = pair.mesh.taut_ok(&["token"]).trim().to_owned();
    pair.mesh.proxy("web-9", &[&pair.web.options[..], &["--token".to_owned(), token]].concat());
    pair.mesh.wait_ready(2);
    assert_eq!(pair.request(), 200);
    pair.mesh.kill9("control-plane");
    let alone = upgrade(&pair);
    assert!(!alone.status.success() && text(&alone.stderr).contains("got no certificate, so the running one goes on: "), "{}", text(&alone.stderr));
    assert_eq!(pair.request(), 200);
    assert_eq!(pair.mesh.terminate("web-9"), Some(0));
    let nobody = upgrade(&pair);
    assert!(!nobody.status.success() && text(&nobody.stderr).contains("no proxy answers at"), "{}", text(&nobody.stderr));
}

#[test]
fn another_workload_is_refused_and_a_first_proxy_needs_no_predecessor() {
    let mut pair = Pair::start();
    let door = pair.mesh.directory.path().join("shop.sock").to_str().unwrap().to_owned();
    let other = ["--name", "other", "--outbound", "off", "--peer", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--handover", &door, "--replace"];
    let same = pair.web.options.clone();
    pair.mesh.proxy("same", &same);
    assert_eq!(pair.end("same"), 1);
    assert!(pair.mesh.log("same").contains("the proxy that runs here already is replaced with --replace"), "{}", pair.mesh.log("same"));
    pair.mesh.proxy("other", &other.map(str::to_owned));
    assert_eq!(pair.end("other"), 1);
    assert!(pair.mesh.log("other").contains("the running proxy is of workload default/shop"), "{}", pair.mesh.log("other"));
    assert_eq!(pair.mesh.terminate("web-0"), Some(0));
    let token = text(pair.mesh.taut_ok(&["token"]).trim().as_bytes());
    let first = [&pair.web.options[..], &["--replace".to_owned(), "--token".to_owned(), token]].concat();
    pair.mesh.proxy("web-1", &first);
    pair.says("web-1", "starting as the first");
    pair.mesh.wait_ready(2);
    assert_eq!(pair.request(), 200);
}

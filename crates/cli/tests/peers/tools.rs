//! The tools themselves, against real servers.

use crate::app;
use crate::pair::{Pair, ran, script};
use crate::support::{PATIENCE, eventually, has};
use crate::table::Report;
use std::path::Path;
use std::process::{Command, Stdio};

/// The number after `label` in what a load generator prints.
fn number_before(text: &str, label: &str) -> u64 {
    let before = text.split(label).next().unwrap_or_default();
    before.trim_end().rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// nginx on 9080 for HTTP/1.1 and on 9081 for HTTP/2 with prior knowledge.
fn nginx() -> Pair {
    let prepared = Pair::prepare().port(9080, "http").port(9081, "http2");
    let (at, directory) = (prepared.server(), prepared.directory().to_owned());
    let configuration = format!(
        "daemon off; master_process off; worker_processes 1; pid {0}/nginx.pid; error_log stderr warn;\n\
         events {{ worker_connections 512; }}\n\
         http {{ access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; \
         scgi_temp_path {0}/s; keepalive_requests 1000000;\n\
         server {{ listen {at}:9080; location / {{ return 200 'hello'; }} }}\n\
         server {{ listen {at}:9081 http2; location / {{ return 200 'hello'; }} }} }}\n",
        directory.display()
    );
    let file = directory.join("nginx.conf");
    std::fs::write(&file, configuration).unwrap();
    prepared.start(&["nginx", "-e", "stderr", "-c", file.to_str().unwrap()])
}

#[test]
fn h2load() {
    let Some(mut report) = Report::needing("h2load", &["h2load", "nginx"], &[]) else { return };
    let pair = nginx();
    for (what, port, arguments) in
        [("HTTP/1.1, 4 connections", 9080, &["--h1", "-c4"][..]), ("HTTP/2, 4 connections x 8 streams", 9081, &["-c4", "-m8"])]
    {
        report.case(what, || {
            let said = ran(Command::new("h2load").args(["-n2000"]).args(arguments).arg(format!("http://{}/", pair.at(port))));
            let (went_well, failed) = (number_before(&said, " succeeded"), number_before(&said, " failed"));
            assert_eq!((went_well, failed, number_before(&said, " 2xx")), (2000, 0, 2000), "{said}");
            "2000 requests, 0 failed (nginx)".to_owned()
        });
    }
}

#[test]
fn wrk() {
    let Some(mut report) = Report::needing("wrk", &["wrk", "nginx"], &[]) else { return };
    let pair = nginx();
    report.case("HTTP/1.1, 16 connections, 2 s", || {
        let said = ran(Command::new("wrk").args(["-t1", "-c16", "-d2s"]).arg(format!("http://{}/", pair.at(9080))));
        let requests = number_before(&said, " requests in");
        assert!(requests > 100 && !said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
        format!("{requests} requests, no error (nginx)")
    });
}

#[test]
fn curl() {
    let Some(mut report) = Report::needing("curl", &["curl"], &[]) else { return };
    let pair = Pair::prepare().listen(9080, "http", app::serve).start(&[]);
    let (directory, url) = (pair.mesh.directory.path(), format!("http://{}", pair.at(9080)));
    let curl = |arguments: &[&str]| ran(Command::new("curl").args(["-sS", "--max-time", "60"]).args(arguments));
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let (large, back) = (path("large"), path("back"));
    let sent = app::pattern(50 << 20);
    std::fs::write(&large, &sent).unwrap();
    let same = |name: &str| assert!(std::fs::read(name).unwrap() == sent, "{name} is not what was sent");
    let echo = format!("{url}/echo");
    report.case("50 MB up and down, Content-Length", || {
        curl(&["-H", "Expect:", "--data-binary", &format!("@{large}"), &echo, "-o", &back]);
        same(&back);
        "equal".to_owned()
    });
    report.case("50 MB up and down, chunked, Expect: 100-continue", || {
        curl(&["-X", "POST", "-H", "Expect: 100-continue", "-H", "Transfer-Encoding: chunked", "-T", &large, &echo, "-o", &back]);
        same(&back);
        "equal".to_owned()
    });
    report.case("50 MB down, 40 MB/s", || {
        curl(&["--limit-rate", "40M", &format!("{url}/large"), "-o", &back]);
        same(&back);
        "equal".to_owned()
    });
    let shown = ["-w", "%{http_code} %{num_connects} %{http_version}\n", "-o", "/dev/null"];
    report.case("--http1.0, HEAD, 204, 304, keep-alive", || {
        let one = |more: &[&str]| curl(&[&shown[..], more].concat());
        // Some versions say 1.0 and some say 1.
        assert!(["200 1 1.0\n", "200 1 1\n"].contains(&one(&["--http1.0", &url]).as_str()));
        assert_eq!(one(&["-I", &format!("{url}/large")]), "200 1 1.1\n");
        let next = [&["--next"][..], &shown[..]].concat();
        let [none, unchanged, closing] = ["204", "304", "close"].map(|path| format!("{url}/{path}"));
        let all = [&shown[..], &[&none], &next, &[&unchanged], &next, &[&closing], &next, &[&url]].concat();
        assert_eq!(curl(&all), "204 1 1.1\n304 0 1.1\n200 0 1.1\n200 0 1.1\n");
        "as they should be, one connection".to_owned()
    });
    report.case("as HTTP proxy, CONNECT and SOCKS5", || {
        let through = |more: &[&str]| curl(&[&shown[..], more, &["http://server:9080/a"]].concat());
        let proxy = pair.proxy();
        for way in [&["-x", &proxy][..], &["-p", "-x", &proxy], &["--socks5-hostname", &proxy]] {
            assert_eq!(through(way), "200 1 1.1\n", "{way:?}");
        }
        "200 each".to_owned()
    });
}

#[test]
fn grpcio() {
    let Some(mut report) = Report::needing("grpcio", &["python3"], &["grpc"]) else { return };
    let prepared = Pair::prepare().port(9090, "grpc");
    let server = format!("{}:9090", prepared.server());
    let pair = prepared.start(&["python3", "-u", &script("grpc_server.py"), &server]);
    pair.mesh.apply_text(RETRY_UNAVAILABLE);
    pair.mesh.taut_ok(&["wait", "--for=live", "--timeout", "20s"]);
    say(&mut report, Command::new("python3").args(["-u", &script("grpc_client.py"), &pair.at(9090)]));
    report.case("grpc-status of trailers in metrics", || {
        let counted = |code: &str| pair.counted("istio_requests_total", &[&format!("grpc_response_status=\"{code}\""), "request_protocol=\"grpc\""]);
        eventually(PATIENCE, "all statuses are counted", || {
            let seen = ["0", "5", "14"].map(counted);
            if seen.iter().all(|count| *count >= 1.0) { Ok(()) } else { Err(format!("{seen:?}\n{}", pair.client_metrics())) }
        });
        format!("OK {}, NOT_FOUND {}, UNAVAILABLE {}", counted("0"), counted("5"), counted("14"))
    });
}

const RETRY_UNAVAILABLE: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: server, namespace: default }
spec:
  hosts: [server]
  http:
  - retries: { attempts: 3, perTryTimeout: 5s, retryOn: unavailable }
    route:
    - destination: { host: server }
";

#[test]
fn websockets() {
    let Some(mut report) = Report::needing("websockets", &["python3"], &["websockets"]) else { return };
    let prepared = Pair::prepare().port(9080, "http");
    let server = prepared.server();
    let pair = prepared.start(&["python3", "-u", &script("websocket_server.py"), &server, "9080"]);
    say(&mut report, Command::new("python3").args(["-u", &script("websocket_client.py"), &format!("ws://{}/chat", pair.at(9080))]));
}

#[test]
fn websockets_over_http2() {
    let Some(mut report) = Report::needing("Python h2", &["python3"], &["websockets", "h2"]) else { return };
    let prepared = Pair::prepare().port(9080, "http");
    let server = prepared.server();
    let pair = prepared.start(&["python3", "-u", &script("websocket_server.py"), &server, "9080"]);
    let address = pair.at(9080);
    let (host, port) = address.split_once(':').unwrap();
    say(&mut report, Command::new("python3").args(["-u", &script("websocket_http2_client.py"), host, port]));
}

/// Runs a program that says line by line what came of what.
fn say(report: &mut Report, program: &mut Command) {
    for line in ran(program).lines() {
        let (what, result) = line.rsplit_once(": ").unwrap_or((line, ""));
        report.case(what, || result.to_owned());
    }
}

/// The directory of PostgreSQL's server programs.
fn postgres() -> Option<String> {
    let found = Command::new("sh").args(["-c", "ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1"]).output().ok()?;
    let directory = String::from_utf8(found.stdout).ok()?.trim().to_owned();
    (Path::new(&directory).join("initdb").is_file()).then_some(directory)
}

#[test]
fn psql() {
    let Some(mut report) = Report::needing("psql", &["psql", "runuser"], &[]) else { return };
    let (Some(programs), true) = (postgres(), nix::unistd::geteuid().is_root()) else {
        return report.case("everything", || "skipped: needs postgresql, and root to run it as another user".to_owned());
    };
    let prepared = Pair::prepare().port(5432, "tcp-postgres");
    // The server refuses to run as root, and wants a directory of its own.
    let directory = tempfile::Builder::new().prefix("taut-postgres-").tempdir().unwrap();
    ran(Command::new("chown").arg("nobody").arg(directory.path()));
    let files = directory.path().join("data").display().to_string();
    let initdb = format!("{programs}/initdb");
    ran(Command::new("runuser")
        .args(["-u", "nobody", "--", &initdb, "-D", &files, "-U", "taut", "-A", "trust", "-E", "UTF8", "--no-sync"])
        .current_dir("/"));
    std::fs::write(Path::new(&files).join("pg_hba.conf"), "host all all 127.0.0.0/8 trust\n").unwrap();
    let at = prepared.server();
    let server = format!("{programs}/postgres");
    let program = ["runuser", "-u", "nobody", "--", &server, "-D", &files, "-h", &at, "-p", "5432", "-k", "", "-c", "fsync=off"];
    let pair = prepared.start(&program);
    let address = pair.at(5432);
    let (host, port) = address.split_once(':').unwrap();
    let psql = |arguments: &[&str]| ran(Command::new("psql").args(["-h", host, "-p", port, "-U", "taut", "-d", "postgres", "-XAt"]).args(arguments));
    report.case("select, sslmode=prefer", || {
        eventually(PATIENCE, "the database answers", || {
            let output = Command::new("psql").args(["-h", host, "-p", port, "-U", "taut", "-d", "postgres", "-XAtc", "select 1"]).output().unwrap();
            if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
        });
        psql(&["-c", "select 6 * 7"]).trim().to_owned()
    });
    report.case("20,000 rows in and out with COPY", || {
        psql(&["-c", "create table numbers as select n, md5(n::text) as sum from generate_series(1, 20000) n"]);
        let file = pair.mesh.directory.path().join("numbers");
        psql(&["-c", &format!("\\copy numbers to '{}'", file.display()), "-c", "create table again (n int, sum text)"]);
        psql(&["-c", &format!("\\copy again from '{}'", file.display())]);
        let different = psql(&["-c", "select count(*) from (select * from numbers except select * from again) d"]);
        assert_eq!(different.trim(), "0");
        "equal".to_owned()
    });
}

#[test]
fn redis_cli() {
    let Some(mut report) = Report::needing("redis-cli", &["redis-cli", "redis-server"], &[]) else { return };
    let prepared = Pair::prepare().port(6379, "redis");
    let (at, directory) = (prepared.server(), prepared.directory().display().to_string());
    let pair = prepared.start(&["redis-server", "--bind", &at, "--port", "6379", "--save", "", "--appendonly", "no", "--dir", &directory]);
    let address = pair.at(6379);
    let (host, port) = address.split_once(':').unwrap();
    let redis = |arguments: &[&str]| ran(Command::new("redis-cli").args(["-h", host, "-p", port]).args(arguments));
    report.case("SET, GET, a value of 1 MB", || {
        assert_eq!(redis(&["SET", "key", "value"]).trim(), "OK");
        assert_eq!(redis(&["GET", "key"]).trim(), "value");
        redis(&["SETRANGE", "large", "1000000", "x"]);
        assert_eq!(redis(&["STRLEN", "large"]).trim(), "1000001");
        "as set".to_owned()
    });
    report.case("10,000 commands in one stream (--pipe)", || {
        let commands: String = (0..10_000).map(|n| format!("*3\r\n$3\r\nSET\r\n${}\r\nk{n}\r\n$1\r\nv\r\n", format!("k{n}").len())).collect();
        let file = pair.mesh.directory.path().join("commands");
        std::fs::write(&file, commands).unwrap();
        let said = ran(Command::new("redis-cli")
            .args(["-h", host, "-p", port, "--pipe"])
            .stdin(std::fs::File::open(&file).unwrap())
            .stderr(Stdio::inherit()));
        assert!(said.contains("errors: 0, replies: 10000"), "{said}");
        "10000 replies, 0 errors".to_owned()
    });
    if has("redis-benchmark") {
        report.case("redis-benchmark, 50 connections, pipelined by 16", || {
            ran(Command::new("redis-benchmark").args(["-h", host, "-p", port, "-t", "get,set", "-n", "20000", "-P", "16", "-q"]));
            "20000 GET, 20000 SET".to_owned()
        });
    }
}

//! The dashboard in a real browser, in front of a bookstore under traffic: a canary shift seen on the map, a denial explained, a
//! rollback done, an incident followed to its evidence, then pictures of every page, into `target/dashboard`. The clicks are in `dashboard/test/demo.mjs`. Where
//! Node.js, Chromium or the built dashboard is missing, says so and does nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Connection, Member, Mesh, bookstore, eventually, has, text};

/// The browser's own patience is shorter, and says what it waited for.
const LONGEST: Duration = Duration::from_secs(600);
/// Between two page views of one client.
const PAUSE: Duration = Duration::from_millis(60);

#[test]
fn a_browser_sees_a_canary_shift_a_denial_a_rollback_and_an_incident() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dashboard");
    if let Some(missing) = missing(&sources) {
        eprintln!("{missing}: the dashboard is not clicked through here");
        return;
    }
    let mut mesh = Mesh::start();
    let page = format!("{}:9081", mesh.address(1));
    let url = std::fs::read_to_string(mesh.state().join("dashboard.url")).expect("the address of the dashboard");
    if !front_page(&url).contains("<script type=\"module\"") {
        eprintln!("this taut was built without the dashboard (make dashboard, then build it again): not clicked through here");
        return;
    }
    mesh.apply_text(taut_demo::manifests::BOOKSTORE);
    mesh.apply_text(taut_demo::manifests::VERSIONS);
    let members: Vec<Member> =
        bookstore().into_iter().map(|member| if member.service == "productpage" { member.with(&["--expose", &page]) } else { member }).collect();
    for member in &members {
        mesh.run(member);
    }
    mesh.wait_ready(members.len());
    std::fs::create_dir_all(mesh.state().join("faults")).expect("where `taut demo break` writes");
    let stop = AtomicBool::new(false);
    let (good, said) = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| view(&page, &stop));
        }
        let result = click(&mesh, &sources, url.trim());
        stop.store(true, Ordering::Relaxed);
        result
    });
    println!("{said}");
    assert!(good, "{said}\n{:#}\n{}", mesh.status(), mesh.log("control-plane"));
}

/// What this machine lacks for a browser test.
fn missing(sources: &Path) -> Option<String> {
    if !has("node") {
        return Some("Node.js is not installed".to_owned());
    }
    if browser().is_none() {
        return Some("Chromium is not installed (apt-get install chromium)".to_owned());
    }
    (!sources.join("node_modules/playwright-core").is_dir()).then(|| "dashboard/node_modules is not there (make dashboard)".to_owned())
}

fn browser() -> Option<PathBuf> {
    let found = |name: &str| Command::new("sh").args(["-c", &format!("command -v {name}")]).output().ok().filter(|o| o.status.success());
    let output = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(found)?;
    Some(PathBuf::from(text(&output.stdout).trim()))
}

/// The page at the root, without its token.
fn front_page(url: &str) -> String {
    let address = url.trim().trim_start_matches("http://").split('/').next().unwrap_or_default().to_owned();
    let mut connection = Connection::open(&address).expect("the dashboard listens");
    connection.get("/", &address, &[]).expect("the dashboard answers").body
}

/// One client that looks at the bookstore until it is told to stop.
fn view(page: &str, stop: &AtomicBool) {
    let mut connection = None;
    while !stop.load(Ordering::Relaxed) {
        // Answers of any kind are traffic; a refused connection is tried again.
        let looked = connection.take().or_else(|| Connection::open(page).ok());
        connection = looked.and_then(|mut open: Connection| open.get("/productpage", page, &[]).is_ok().then_some(open));
        std::thread::park_timeout(PAUSE);
    }
}

/// Runs the clicks; whether they went well, and what they said.
fn click(mesh: &Mesh, sources: &Path, url: &str) -> (bool, String) {
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/dashboard");
    std::fs::create_dir_all(&pictures).expect("target/dashboard");
    let log = mesh.directory.path().join("browser.log");
    let file = File::create(&log).expect("log file");
    let mut command = Command::new("node");
    command.current_dir(sources).arg("test/demo.mjs").arg(url).arg(pictures.canonicalize().expect("target/dashboard"));
    // What breaks and repairs ratings.
    command.env("TAUT", env!("CARGO_BIN_EXE_taut")).env("TAUT_STATE", mesh.state());
    command.env("CHROMIUM", browser().expect("looked for above")).stdout(file.try_clone().expect("log file")).stderr(file);
    let mut child = command.spawn().expect("start node");
    let status = eventually(LONGEST, "the clicks end", || {
        child.try_wait().map_err(|e| e.to_string())?.ok_or_else(|| std::fs::read_to_string(&log).unwrap_or_default())
    });
    (status.success(), std::fs::read_to_string(&log).unwrap_or_default())
}

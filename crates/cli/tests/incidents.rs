//! The promise of docs/incidents.md: one command breaks ratings, within 15 s the mesh says that ratings is the cause, and after the repair it says
//! that all is well.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{Connection, Mesh, bookstore, eventually};

/// Visits a second, as in the demo.
const RATE: u32 = 5;
/// How long the mesh may learn what is usual: as the page says.
const LEARNED: usize = 60 * RATE as usize;
const SHOWN: Duration = Duration::from_secs(15);
const GONE: Duration = Duration::from_secs(90);

#[test]
fn broken_ratings_are_on_screen_within_15_seconds_and_gone_after_the_repair() {
    let mut mesh = Mesh::start();
    mesh.apply_text(taut_demo::manifests::BOOKSTORE);
    let page = format!("{}:9081", mesh.address(1));
    for member in bookstore() {
        mesh.run(&if member.service == "productpage" { member.with(&["--expose", &page]) } else { member });
    }
    mesh.wait_ready(bookstore().len());
    std::fs::create_dir_all(mesh.state().join("faults")).unwrap();
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| visit(&page, &stop, &sent));
        }
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(Duration::from_secs(180), "visitors come", || match sent.load(Ordering::Relaxed) {
                enough if enough >= LEARNED => Ok(()),
                few => Err(format!("{few} visits")),
            });
            break_and_repair(&mesh);
        }));
        stop.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

fn break_and_repair(mesh: &Mesh) {
    assert_eq!(open(mesh).unwrap(), Vec::<Value>::new(), "nothing is wrong yet");
    mesh.taut_ok(&["demo", "break", "ratings"]);
    let broken = Instant::now();
    let incident = eventually(SHOWN, "an incident whose first cause is ratings", || {
        let open = open(mesh)?;
        let of_ratings = |incident: &&Value| named(&incident["causes"][0]["place"], "default/ratings");
        open.iter().find(of_ratings).cloned().ok_or_else(|| format!("{open:#?}"))
    });
    println!("after {:.1} s: {:#}", broken.elapsed().as_secs_f32(), incident["causes"][0]["place"]);
    mesh.taut_ok(&["demo", "repair"]);
    let repaired = Instant::now();
    eventually(GONE, "no incident is open", || match open(mesh)? {
        open if open.is_empty() => Ok(()),
        open => Err(format!("{open:#?}")),
    });
    println!("gone {:.1} s after the repair", repaired.elapsed().as_secs_f32());
}

/// The service itself, or a part of it.
fn named(place: &Value, service: &str) -> bool {
    place["service"] == service || place["part"][0] == service
}

fn open(mesh: &Mesh) -> Result<Vec<Value>, String> {
    let said = mesh.taut(&["incidents", "-o", "json"]);
    let value: Value = serde_json::from_slice(&said.stdout).map_err(|e| format!("{e}: {}", support::text(&said.stderr)))?;
    let list = value["incidents"].as_array().ok_or_else(|| format!("no list: {value}"))?;
    Ok(list.iter().filter(|incident| incident["state"] == "open").cloned().collect())
}

/// People open the page; programs ask for the stars alone.
fn visit(page: &str, stop: &AtomicBool, sent: &AtomicUsize) {
    let mut connection = Connection::open(page).unwrap();
    let pause = Duration::from_secs(2) / RATE;
    let mut due = Instant::now();
    for path in ["/productpage", "/api/v1/products/0/ratings"].iter().cycle() {
        due += pause;
        while Instant::now() < due && !stop.load(Ordering::Relaxed) {
            std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
        if connection.get(path, "productpage", &[]).is_err() {
            connection = Connection::open(page).unwrap();
        }
        sent.fetch_add(1, Ordering::Relaxed);
    }
}

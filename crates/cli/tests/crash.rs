//! A control plane that is killed again and again while proxies report: what its store says adds up to what passed, on both sides of
//! each of its deaths.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::{Client, Member, Mesh, PATIENCE, eventually};

/// Decides when it dies; another one is another test.
const SEED: u64 = 2026;
const DEATHS: u64 = 4;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Requests one after the other until it is told to stop; how many were answered.
fn traffic(mesh: &Mesh, stop: &Arc<AtomicBool>) -> JoinHandle<u64> {
    let (mut client, stop) = (Client::behind(mesh, 4), stop.clone());
    std::thread::spawn(move || {
        let mut answered = 0;
        while !stop.load(Ordering::Relaxed) {
            assert_eq!(client.get("http://details:9080/details/0", &[]).unwrap().status, 200);
            answered += 1;
        }
        answered
    })
}

/// What the store has of the requests in a window, as the proxies at both ends reported them; and whether it says that some are missing.
fn known(mesh: &Mesh, window: &std::ops::Range<u64>) -> ([u64; 2], usize) {
    let (at, length) = (window.end.to_string(), format!("{}s", window.end - window.start));
    let mut gaps = 0;
    let sums = ["source", "destination"].map(|reporter| {
        let said = mesh.taut_ok(&["edges", "--service", "details", "--reporter", reporter, "--at", &at, "--window", &length, "-o", "json"]);
        let answer: Value = serde_json::from_str(&said).unwrap();
        gaps += answer["gaps"].as_array().unwrap().len();
        answer["edges"].as_array().unwrap().iter().map(|edge| edge["requests"].as_u64().unwrap()).sum()
    });
    (sums, gaps)
}

#[test]
fn what_passed_before_and_after_a_death_is_known_exactly() {
    let mut mesh = Mesh::start();
    mesh.run(&Member::new("details", "v1", 2));
    mesh.run(&Member::new("reviews", "v1", 4));
    mesh.wait_ready(2);
    let mut dice = fastrand::Rng::with_seed(SEED);
    let mut rounds = Vec::new();
    let mut begin = now() - 1;
    for death in 0..DEATHS {
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..2).map(|_| traffic(&mesh, &stop)).collect();
        // Long enough that seconds are sealed, and then at any point between two writes or in one.
        let lives = Duration::from_millis(dice.u64(1500..4500));
        std::thread::park_timeout(lives);
        mesh.kill9("control-plane");
        let dead = Duration::from_millis(dice.u64(0..2500));
        std::thread::park_timeout(dead);
        mesh.up();
        stop.store(true, Ordering::Relaxed);
        let passed: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
        assert!(passed > 20, "{passed}");
        // Nothing passes now, so the next round begins in another second.
        let end = eventually(PATIENCE, "the store has what passed", || {
            let window = begin..now() + 1;
            match known(&mesh, &window) {
                ([source, destination], _) if source == passed && destination == passed => Ok(window.end),
                other => Err(format!("death {death}, after {lives:?} and {dead:?}: {passed} passed, the store says {other:?}")),
            }
        });
        let second = Instant::now();
        eventually(PATIENCE, "another second", || if now() > end { Ok(()) } else { Err(format!("{:?}", second.elapsed())) });
        rounds.push((begin..end, passed));
        begin = end;
    }
    for (window, passed) in &rounds {
        assert_eq!(known(&mesh, window).0, [*passed; 2], "{window:?} of {rounds:?}");
    }
    let whole = rounds[0].0.start..begin;
    let sum: u64 = rounds.iter().map(|(_, passed)| passed).sum();
    let (sums, gaps) = known(&mesh, &whole);
    assert_eq!(sums, [sum; 2]);
    // Everything was kept by the proxies and came: no gap is claimed where there is none.
    assert_eq!(gaps, 0);
    let log = mesh.log("control-plane");
    assert!(!log.contains("cannot be read") && !log.contains("contradict"), "{log}");
    // What was written outlives one more start as it is.
    mesh.kill9("control-plane");
    mesh.up();
    for (window, passed) in &rounds {
        assert_eq!(known(&mesh, window).0, [*passed; 2], "{window:?} of {rounds:?}");
    }
}

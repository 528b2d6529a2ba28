//! Calls are read as they were reported.

use super::*;
use crate::signals::Limits;
use taut_model::signal::{Batch, Outcomes, ServiceName};

pub(crate) const NOW: Second = 1_767_225_600;

/// A workload of the namespace `default`, whose application has its name up to the last dash.
pub(crate) fn party(name: &str) -> Arc<Party> {
    let (app, version) = name.rsplit_once('-').unwrap();
    Arc::new(Party {
        workload: name.into(),
        namespace: "default".into(),
        app: app.into(),
        version: version.into(),
        principal: format!("spiffe://mesh.local/ns/default/sa/{app}"),
    })
}

pub(crate) fn edge(from: Arc<Party>, service: &str, to: &str, protocol: Protocol, reporter: Reporter, security: Security) -> Arc<Edge> {
    let host = format!("{service}.default.svc.cluster.local");
    let service = Arc::new(ServiceName { host, namespace: "default".into(), name: service.into() });
    Arc::new(Edge { source: from, service, destination: party(to), protocol, route: "".into(), reporter, security })
}

pub(crate) fn requests(count: u64) -> Signals {
    Signals { requests: count, request_bytes: count, ..Signals::default() }
}

pub(crate) fn denied(count: u64, status: u16) -> Signals {
    let mut outcomes = Outcomes::default();
    outcomes.count(status, None, Some("authorization_denied"), count);
    Signals { requests: if status > 0 { count } else { 0 }, outcomes, ..Signals::default() }
}

/// What one edge carried.
type Carried = (Arc<Edge>, Signals);

/// Each as one second's report of one proxy.
pub(crate) fn store(seconds: &[(Second, Vec<Carried>)]) -> Store {
    let store = Store::in_memory(Limits::default());
    for (sequence, (second, entries)) in (1..).zip(seconds) {
        let batch = Batch { proxy: "default/page-v1".into(), epoch: 1, sequence, second: *second, entries: entries.clone(), lost: 0, last: false };
        store.add(batch, *second);
        store.tick(second + 4);
    }
    store
}

fn of<'a>(calls: &'a Calls, from: &str) -> &'a Call {
    let found = calls.all.iter().find(|call| call.from.workload == from);
    found.unwrap_or_else(|| panic!("{from} in {:#?}", calls.all))
}

#[test]
fn what_was_carried_and_refused_is_told_apart_with_its_first_and_last_second() {
    use Protocol::{Http, Tcp};
    use Reporter::{Destination, Source};
    use Security::{MutualTls, Plaintext};
    let page = edge(party("page-v1"), "reviews", "reviews-v1", Http, Source, MutualTls);
    let thief = edge(party("thief-v1"), "reviews", "reviews-v1", Http, Source, MutualTls);
    let client = edge(party("client-v1"), "store", "store-v1", Tcp, Source, MutualTls);
    let nobody = edge(Party::nobody(), "reviews", "reviews-v1", Http, Destination, Plaintext);
    let lost = edge(party("lost-v1"), "reviews", "reviews-v1", Http, Source, Security::Unknown);
    let mixed = {
        let mut mixed = requests(5);
        mixed.merge(&denied(2, 403));
        mixed
    };
    let open = Signals { connections: 1, ..Signals::default() };
    let refused_connection = denied(1, 0);
    let store = store(&[
        (NOW, vec![(page.clone(), mixed), (thief, denied(3, 403)), (client, open), (lost, requests(9))]),
        (
            NOW + 7,
            vec![
                (page, requests(1)),
                (nobody, requests(2)),
                (edge(party("spy-v1"), "store", "store-v1", Tcp, Source, MutualTls), refused_connection),
            ],
        ),
    ]);
    let calls = Calls::read(&store, 600, None, NOW);
    assert_eq!((calls.step, calls.window.end - calls.window.start), (1, 600));
    let page = &of(&calls, "page-v1").seen;
    assert_eq!((page.carried, page.refused, page.first, page.last, page.seconds, page.hours.len()), (6, 2, NOW, NOW + 7, 2, 1));
    let thief = &of(&calls, "thief-v1").seen;
    assert_eq!((thief.carried, thief.refused, thief.alive), (0, 3, false));
    assert!(of(&calls, "client-v1").seen.alive, "a connection that is open is in use");
    let spy = &of(&calls, "spy-v1").seen;
    assert_eq!((spy.carried, spy.refused, spy.alive), (0, 1, false));
    assert_eq!(of(&calls, UNKNOWN).security, Plaintext);
    assert_eq!(calls.all.len(), 5, "who reached nobody has called nobody: {:#?}", calls.all);
}

#[test]
fn a_day_is_cut_into_minutes_and_hours_are_counted() {
    let page = || edge(party("page-v1"), "reviews", "reviews-v1", Protocol::Http, Reporter::Source, Security::MutualTls);
    let store =
        store(&[(NOW - 3 * HOUR, vec![(page(), requests(1))]), (NOW - HOUR, vec![(page(), requests(1))]), (NOW, vec![(page(), requests(1))])]);
    let calls = Calls::read(&store, 24 * HOUR, None, NOW);
    let seen = &of(&calls, "page-v1").seen;
    assert_eq!((calls.step, seen.carried, seen.hours.len()), (60, 3, 3), "{seen:?}");
    assert_eq!(calls.known_from, NOW - 3 * HOUR);
    // Before the first report nothing is known, and between the reports of one proxy there is a gap in its own.
    let all = calls.window.end - calls.known_from;
    assert_eq!(calls.known_seconds(&BTreeSet::new()), all);
    assert!(calls.known_seconds(&BTreeSet::from(["default/page-v1"])) <= all);
}

#[test]
fn gaps_count_once_and_only_for_whom_they_concern() {
    let gap = |from, to, proxy: Option<&str>| Gap { from, to, why: String::new(), proxy: proxy.map(str::to_owned) };
    let gaps = vec![gap(0, 20, None), gap(30, 50, Some("a")), gap(40, 60, Some("b")), gap(95, 400, None)];
    let calls = Calls { window: 0..100, known_from: 10, gaps, ..Calls::default() };
    assert_eq!(calls.known_seconds(&BTreeSet::new()), 90 - 10 - 5);
    assert_eq!(calls.known_seconds(&BTreeSet::from(["a"])), 90 - 10 - 5 - 20);
    assert_eq!(calls.known_seconds(&BTreeSet::from(["a", "b"])), 90 - 10 - 5 - 30);
}

#[test]
fn spans_have_days() {
    for (text, want) in [("30m", 1800), ("1d", 86_400), ("7d", 604_800), ("1h30m", 5400)] {
        assert_eq!(span(text), Ok(want), "{text}");
    }
    for bad in ["", "d", "0d", "-1d", "400d", "99999999999999999999d", "5", "yesterday", "0s"] {
        assert!(span(bad).is_err(), "{bad}");
    }
}

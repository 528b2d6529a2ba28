//! What the store promises: any window adds up, nothing counts twice, what is missing is known, memory has a ceiling.

use super::*;
use taut_model::signal::{Party, Protocol, Reporter, Security, ServiceName};

const START: Second = 1_700_000_000;

pub(super) fn edge(source: &str, service: &str, version: &str) -> Arc<Edge> {
    let party = |workload: String, version: &str| {
        Arc::new(Party { namespace: "shop".into(), app: workload.clone(), workload, version: version.into(), principal: "unknown".into() })
    };
    Arc::new(Edge {
        source: party(source.into(), "v1"),
        service: Arc::new(ServiceName { host: format!("{service}.shop.svc.cluster.local"), namespace: "shop".into(), name: service.into() }),
        destination: party(format!("{service}-{version}"), version),
        protocol: Protocol::Http,
        route: "".into(),
        reporter: Reporter::Source,
        security: Security::MutualTls,
    })
}

pub(super) fn signals(requests: u64) -> Signals {
    let mut signals = Signals { requests, in_flight: 2, connections: 1, ..Signals::default() };
    signals.latency.record_many(1000 * requests, requests);
    signals.outcomes.count(200, None, None, requests);
    signals
}

pub(super) fn batch(proxy: &str, sequence: u64, second: Second, entries: Vec<(Arc<Edge>, Signals)>) -> Batch {
    Batch { proxy: proxy.into(), epoch: 7, sequence, second, entries, lost: 0, last: false }
}

fn requests(of: &[(Arc<Edge>, Signals)]) -> u64 {
    of.iter().map(|(_, signals)| signals.requests).sum()
}

/// A store that has taken `seconds` batches, with the number of the second as requests.
fn filled(seconds: u64, limits: Limits) -> Store {
    let store = Store::in_memory(limits);
    for n in 0..seconds {
        store.add(batch("shop/web", n + 1, START + n, vec![(edge("web", "cart", "v1"), signals(n))]), START + n + 1);
        store.tick(START + n + 1);
    }
    (seconds + 1..seconds + 6).for_each(|n| store.tick(START + n));
    store
}

#[test]
fn every_window_is_the_sum_of_its_seconds() {
    let store = filled(8000, Limits::default());
    for (from, to) in [(0, 8000), (0, 1), (7, 8), (3, 25), (9, 3601), (1199, 7300), (7990, 8000), (60, 120), (500, 500)] {
        let exact: u64 = (from..to).sum();
        let edges = store.edges(START + from..START + to, &Filter::default());
        assert_eq!(requests(&edges), exact, "{from}..{to}");
        assert_eq!(edges.iter().map(|(_, signals)| signals.latency.count()).sum::<u64>(), exact);
    }
}

#[test]
fn what_is_known_begins_with_the_first_second_also_where_it_is_rolled_up() {
    // The hour that has the first second begins 800 s before it.
    for seconds in [1, 30, 500, 8000] {
        assert_eq!(filled(seconds, Limits::default()).oldest(), Some(START), "{seconds}");
    }
    assert_eq!(Store::in_memory(Limits::default()).oldest(), None);
}

#[test]
fn series_add_up_at_every_step() {
    let store = filled(8000, Limits::default());
    for step in [1, 5, 10, 30, 60, 600, 3600] {
        let answer = store.series(START..START + 8000, step, &Filter::default(), By::Service, 10);
        assert_eq!(answer.step, step);
        let points = &answer.series[0].points;
        let sum: u64 = points.iter().filter_map(|point| point.signals.as_ref()).map(|signals| signals.requests).sum();
        assert_eq!(sum, (0..8000).sum::<u64>(), "{step}");
        let second = points.iter().find(|point| point.at > START + 4000).unwrap();
        let exact = (second.at..(second.at + step).min(START + 8000)).map(|at| at - START).sum::<u64>();
        assert_eq!(second.signals.as_ref().unwrap().requests, exact);
    }
}

#[test]
fn what_is_sent_again_counts_once() {
    let store = Store::in_memory(Limits::default());
    let said = batch("shop/web", 1, START, vec![(edge("web", "cart", "v1"), signals(5))]);
    for now in 1..10 {
        store.add(said.clone(), START + now);
        store.tick(START + now);
    }
    assert_eq!(requests(&store.edges(START - 10..START + 10, &Filter::default())), 5);
    assert_eq!(store.kept("shop/web", 7), 1);
}

#[test]
fn what_comes_late_is_added_to_its_time_at_every_resolution() {
    let store = filled(200, Limits::default());
    store.add(batch("shop/late", 1, START + 50, vec![(edge("late", "cart", "v1"), signals(1000))]), START + 206);
    (206..300).for_each(|n| store.tick(START + n));
    for (from, to) in [(50, 51), (0, 100), (20, 140), (0, 250)] {
        let exact: u64 = (from..to.min(200)).sum::<u64>() + 1000;
        assert_eq!(requests(&store.edges(START + from..START + to, &Filter::default())), exact, "{from}..{to}");
    }
    assert_eq!(requests(&store.edges(START + 51..START + 100, &Filter::default())), (51..100).sum::<u64>());
}

#[test]
fn what_a_proxy_lost_is_a_gap_and_a_silent_proxy_too() {
    let store = filled(20, Limits::default());
    let mut late = batch("shop/web", 31, START + 30, vec![]);
    late.lost = 10;
    store.add(late, START + 31);
    (31..150).for_each(|n| store.tick(START + n));
    let gaps = store.gaps(START..START + 200);
    assert_eq!((gaps[0].from, gaps[0].to), (START + 20, START + 30));
    assert_eq!((gaps[1].from, gaps[1].proxy.as_deref()), (START + 31, Some("shop/web")));
    assert!(store.gaps(START..START + 20).is_empty());
}

#[test]
fn a_batch_is_kept_for_good_when_it_is_sealed() {
    let store = Store::in_memory(Limits::default());
    for n in 0..4 {
        store.add(batch("shop/web", n + 1, START + n, vec![]), START + n);
    }
    assert_eq!(store.kept("shop/web", 7), 0);
    store.tick(START + GRACE + 1);
    assert_eq!(store.kept("shop/web", 7), 2);
    assert_eq!(store.latest(), START + 1);
}

#[test]
fn a_clock_that_is_wrong_or_set_back_neither_stops_nor_hides_anything() {
    let store = filled(100, Limits::default());
    // A proxy that lives in 1970, and one in the year 3000.
    store.add(batch("shop/old", 1, 5, vec![(edge("old", "cart", "v1"), signals(1))]), START + 106);
    store.add(batch("shop/new", 1, START * 20, vec![(edge("new", "cart", "v1"), signals(1))]), START + 106);
    (106..112).for_each(|n| store.tick(START + n));
    assert_eq!(requests(&store.edges(START + 100..START + 110, &Filter::default())), 2);
    // The store's own clock is set back by a minute: the seconds that come twice hold both.
    for n in 50..60 {
        store.add(batch("shop/web", n + 100, START + n, vec![(edge("web", "cart", "v1"), signals(1))]), START + n + 1);
        store.tick(START + n + 1);
    }
    (61..70).for_each(|n| store.tick(START + n));
    assert_eq!(requests(&store.edges(START + 50..START + 60, &Filter::default())), (50..60).sum::<u64>() + 10);
}

#[test]
fn memory_stays_below_its_ceiling_and_what_is_old_stays_known_coarsely() {
    let limits = Limits { memory: 60_000, ..Limits::default() };
    let store = filled(4000, limits);
    let weight = store.shared.inner.lock().numbers().memory;
    assert!(weight <= limits.memory, "{weight}");
    let hour = START.div_ceil(3600) * 3600;
    assert_eq!(requests(&store.edges(START..hour, &Filter::default())), (0..hour - START).sum::<u64>());
    let answer = store.series(START..START + 4000, 1, &Filter::default(), By::Service, 10);
    assert!(answer.step > 1);
}

#[test]
fn steps_that_are_known_too_coarsely_are_gaps_and_not_one_long_step() {
    let store = filled(30_000, Limits { memory: 60_000, ..Limits::default() });
    let known = store.known_since(600).unwrap();
    assert!(known > START + 3600 && known < START + 29_000, "{}", known - START);
    let answer = store.series(START..START + 30_000, 60, &Filter::default(), By::Service, 10);
    assert!(answer.step <= 600, "{}", answer.step);
    let points = &answer.series[0].points;
    assert!(points.first().unwrap().signals.is_none() && points[points.len() - 2].signals.is_some());
    // What is asked by the hour is known by the hour.
    let hours = store.series(START..START + 30_000, 3600, &Filter::default(), By::Service, 10);
    assert!(hours.series[0].points[1].signals.is_some());
}

#[test]
fn the_busiest_series_are_told_apart() {
    let store = Store::in_memory(Limits::default());
    let entries = (1..=50).map(|n| (edge("web", &format!("s{n:02}"), "v1"), signals(n))).collect();
    store.add(batch("shop/web", 1, START, entries), START);
    (1..6).for_each(|n| store.tick(START + n));
    let answer = store.series(START..START + 1, 1, &Filter::default(), By::Service, 4);
    let sums: Vec<u64> = answer.series.iter().map(|series| series.points[0].signals.as_ref().unwrap().requests).collect();
    assert_eq!(sums, [50, 49, 48, (1..=47).sum()]);
    assert_eq!(answer.series[3].key, Key::other());
    let one = Filter { service: Some("s07.shop".into()), ..Filter::default() };
    assert_eq!(requests(&store.edges(START..START + 1, &one)), 7);
}

#[test]
fn no_report_is_not_the_same_as_no_traffic() {
    let store = filled(20, Limits::default());
    let answer = store.series(START - 5..START + 20, 1, &Filter::default(), By::Service, 4);
    let known: Vec<bool> = answer.series[0].points.iter().map(|point| point.signals.is_some()).collect();
    assert_eq!(known, [[false; 5].as_slice(), &[true; 20]].concat());
}

#[test]
fn names_without_number_end_in_one_and_totals_stay_right() {
    let limits = Limits { edges: 100, ..Limits::default() };
    let store = Store::in_memory(limits);
    for second in 0..100 {
        let entries =
            (0..200).map(|n| (edge("web", &format!("s{}", second * 200 + n), "v1"), signals(1))).chain([(edge("web", "busy", "v1"), signals(500))]);
        store.add(batch("shop/web", second + 1, START + second, entries.collect()), START + second);
        store.tick(START + second);
    }
    (100..106).for_each(|n| store.tick(START + n));
    let edges = store.edges(START..START + 100, &Filter::default());
    assert_eq!(requests(&edges), 100 * 700);
    assert!(store.shared.inner.lock().numbers().edges <= 100);
    let of = |name: &str| edges.iter().filter(|(edge, _)| edge.service.name == name).map(|(_, signals)| signals.requests).sum::<u64>();
    // It came when there was no room, and has made some.
    assert!(of("busy") > 15_000, "{}", of("busy"));
    assert!(of("other") > 10_000);
}

/// A store in a directory, filled with so many seconds.
fn on_disk(directory: &std::path::Path, seconds: u64) -> Store {
    let store = Store::open(directory, Limits::default()).unwrap();
    for n in 0..seconds {
        store.add(batch("shop/web", n + 1, START + n, vec![(edge("web", "cart", "v1"), signals(n))]), START + n + 1);
        store.tick(START + n + 1);
    }
    store
}

fn only_file(directory: &std::path::Path, level: &str) -> std::path::PathBuf {
    let mut paths: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with(level));
    assert_eq!(paths.len(), 1);
    paths.remove(0)
}

#[test]
fn a_store_goes_on_where_it_ended() {
    let directory = tempfile::tempdir().unwrap();
    let store = on_disk(directory.path(), 4000);
    let window = START..START + 3000;
    let (before, series) = (store.edges(window.clone(), &Filter::default()), store.series(window.clone(), 60, &Filter::default(), By::Edge, 10));
    let kept = store.kept("shop/web", 7);
    drop(store);
    let store = Store::open(directory.path(), Limits::default()).unwrap();
    assert_eq!((store.edges(window.clone(), &Filter::default()), store.series(window, 60, &Filter::default(), By::Edge, 10)), (before, series));
    assert_eq!(store.kept("shop/web", 7), kept);
    // The proxy sends what was not acknowledged, and what follows.
    for n in kept - 3..4100 {
        store.add(batch("shop/web", n + 1, START + n, vec![(edge("web", "cart", "v1"), signals(n))]), START + 4000 + 1);
    }
    (4001..5000).for_each(|n| store.tick(START + n));
    for (from, to) in [(0, 4100), (3000, 4100), (3995, 4003), (17, 3999)] {
        assert_eq!(requests(&store.edges(START + from..START + to, &Filter::default())), (from..to).sum::<u64>(), "{from}..{to}");
    }
}

#[test]
fn wherever_a_crash_cuts_a_file_it_is_whole_and_what_is_missing_is_known() {
    let directory = tempfile::tempdir().unwrap();
    drop(on_disk(directory.path(), 8));
    let path = only_file(directory.path(), "1s-");
    let whole = std::fs::read(&path).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for cut in 0..=whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let store = Store::open(directory.path(), Limits::default()).unwrap();
        let kept = store.kept("shop/web", 7);
        assert_eq!(requests(&store.edges(START..START + 100, &Filter::default())), (0..kept).sum::<u64>(), "cut at {cut}");
        seen.insert(kept);
        if kept > 0 {
            let gap = &store.gaps(0..Second::MAX)[0];
            assert_eq!((gap.from, gap.proxy.as_deref()), (START + kept, Some("shop/web")));
        }
        // What was not acknowledged comes again, and what was, too.
        for n in 0..8 {
            store.add(batch("shop/web", n + 1, START + n, vec![(edge("web", "cart", "v1"), signals(n))]), START + 20);
        }
        (20..26).for_each(|n| store.tick(START + n));
        assert_eq!(requests(&store.edges(START..START + 100, &Filter::default())), (0..8).sum::<u64>(), "cut at {cut}");
        assert!(store.gaps(0..Second::MAX).is_empty());
        drop(store);
        std::fs::read_dir(directory.path()).unwrap().for_each(|entry| std::fs::remove_file(entry.unwrap().path()).unwrap());
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
}

#[test]
fn a_byte_that_changed_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    drop(on_disk(directory.path(), 8));
    let path = only_file(directory.path(), "1s-");
    let whole = std::fs::read(&path).unwrap();
    for at in 8..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&path, &damaged).unwrap();
        let store = Store::open(directory.path(), Limits::default()).unwrap();
        let kept = store.kept("shop/web", 7);
        assert!(kept < 6);
        assert_eq!(requests(&store.edges(START..START + 100, &Filter::default())), (0..kept).sum::<u64>(), "{at}");
    }
}

#[test]
fn the_disk_has_a_ceiling_and_the_finest_go_first() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits { disk: 200_000, ..Limits::default() };
    let store = Store::open(directory.path(), limits).unwrap();
    for n in 0..7200 {
        store.add(batch("shop/web", n + 1, START + n, vec![(edge("web", "cart", "v1"), signals(n))]), START + n + 1);
        store.tick(START + n + 1);
    }
    let used: u64 = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(used <= limits.disk, "{used}");
    drop(store);
    // Memory is empty now: all comes from disk.
    let store = Store::open(directory.path(), limits).unwrap();
    let hour = (START / 3600 + 1) * 3600;
    assert_eq!(requests(&store.edges(START..hour, &Filter::default())), (0..hour - START).sum::<u64>());
    assert!(store.series(START..START + 600, 1, &Filter::default(), By::Edge, 1).step > 1);
}

#[test]
fn a_disk_that_fails_is_no_reason_to_stop() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("signals");
    let store = Store::open(&place, Limits::default()).unwrap();
    // Writing needs the directory when the first file is made.
    std::fs::remove_dir(&place).unwrap();
    for n in 0..20 {
        store.add(batch("shop/web", n + 1, START + n, vec![(edge("web", "cart", "v1"), signals(n))]), START + n + 1);
        store.tick(START + n + 1);
    }
    assert_eq!(requests(&store.edges(START..START + 17, &Filter::default())), (0..17).sum::<u64>());
    assert!(store.about()["failing"].is_string() && store.kept("shop/web", 7) > 10);
    assert!(store.metrics().contains("taut_signals_write_errors_total"));
    std::fs::create_dir(&place).unwrap();
    store.tick(START + 21);
    assert!(store.about()["failing"].is_null());
    drop(store);
    let store = Store::open(&place, Limits::default()).unwrap();
    assert_eq!(requests(&store.edges(START..START + 17, &Filter::default())), (0..17).sum::<u64>());
}

fn magic(path: &std::path::Path) -> Vec<u8> {
    std::fs::read(path).unwrap()[..8].to_vec()
}

#[test]
fn a_file_that_was_laid_out_again_says_the_same() {
    let directory = tempfile::tempdir().unwrap();
    drop(on_disk(directory.path(), 700));
    let store = Store::open(directory.path(), Limits::default()).unwrap();
    let windows = [(0, 690), (3, 25), (17, 61), (600, 601), (59, 660)].map(|(from, to)| START + from..START + to);
    let ask = |store: &Store| {
        let edges = windows.clone().map(|window| store.edges(window, &Filter::default()));
        (edges, store.series(START..START + 690, 5, &Filter::default(), By::Edge, 10), store.kept("shop/web", 7), store.gaps(0..START + 690))
    };
    let of_logs = ask(&store);
    assert_eq!(magic(&only_file(directory.path(), "1s-")), log::MAGIC);
    // One file each time.
    (0..4).for_each(|_| store.tick(START + 701));
    let mut paths: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert_eq!(paths.iter().filter(|path| magic(path) == packed::MAGIC).count(), 3, "{paths:?}");
    assert_eq!(ask(&store), of_logs);
    drop(store);
    assert_eq!(ask(&Store::open(directory.path(), Limits::default()).unwrap()), of_logs);
}

#[test]
fn a_byte_of_such_a_file_that_changed_does_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    drop(on_disk(directory.path(), 8));
    let store = Store::open(directory.path(), Limits::default()).unwrap();
    store.tick(START + 9);
    drop(store);
    let path = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).find(|path| magic(path) == packed::MAGIC).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let exact: u64 = (0..6).sum();
    let mut wrong = 0;
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&path, &damaged).unwrap();
        let store = Store::open(directory.path(), Limits::default()).unwrap();
        let edges = store.edges(START..START + 6, &Filter::default());
        // What is damaged is missing, never something else.
        assert!(requests(&edges) == exact || edges.is_empty(), "{at}: {edges:?}");
        let durations: u64 = edges.iter().map(|(_, signals)| signals.latency.count()).sum();
        assert!(durations == requests(&edges) || durations == 0, "{at}");
        wrong += usize::from(edges.is_empty());
    }
    assert!(wrong > 0);
    let mut cut = whole.clone();
    while cut.pop().is_some() {
        std::fs::write(&path, &cut).unwrap();
        assert!(Store::open(directory.path(), Limits::default()).unwrap().edges(START..START + 6, &Filter::default()).is_empty());
    }
}

#[test]
fn a_file_that_cannot_be_laid_out_again_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    drop(on_disk(directory.path(), 8));
    let path = only_file(directory.path(), "1s-");
    // No room for the other one.
    std::fs::create_dir(path.with_extension(packed::UNFINISHED)).unwrap();
    let store = Store::open(directory.path(), Limits::default()).unwrap();
    (0..3).for_each(|_| store.tick(START + 9));
    assert_eq!(magic(&path), log::MAGIC);
    assert_eq!(requests(&store.edges(START..START + 5, &Filter::default())), 10);
    drop(store);
    // A start takes away what an end has left half done.
    std::fs::remove_dir(path.with_extension(packed::UNFINISHED)).unwrap();
    std::fs::write(path.with_extension(packed::UNFINISHED), b"half").unwrap();
    let store = Store::open(directory.path(), Limits::default()).unwrap();
    assert!(!path.with_extension(packed::UNFINISHED).exists());
    store.tick(START + 9);
    assert_eq!((magic(&path), requests(&store.edges(START..START + 5, &Filter::default()))), (packed::MAGIC.to_vec(), 10));
}

#[test]
fn names_of_any_kind_and_length_keep_their_totals() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Limits::default()).unwrap();
    let long = "x".repeat(10_000);
    // The last two differ only beyond what is written.
    let names = ["quote\"", "line\nbreak", "back\\slash", "näme\u{0}", "", &format!("{long}1"), &format!("{long}2")].map(str::to_owned);
    for n in 0..70 {
        let entries = names.iter().map(|name| (edge(name, "cart", "v1"), signals(3))).collect();
        store.add(batch("shop/web", n + 1, START + n, entries), START + n + 1);
        store.tick(START + n + 1);
    }
    (71..76).for_each(|n| store.tick(START + n));
    let window = START..START + 70;
    assert_eq!(requests(&store.edges(window.clone(), &Filter::default())), 7 * 3 * 70);
    drop(store);
    let store = Store::open(directory.path(), Limits::default()).unwrap();
    for packs in 0..3 {
        let edges = store.edges(window.clone(), &Filter::default());
        assert_eq!((edges.len(), requests(&edges)), (6, 7 * 3 * 70), "after {packs}");
        let named = |name: &str| Filter { workload: Some(name.into()), ..Filter::default() };
        assert_eq!(requests(&store.edges(window.clone(), &named("line\nbreak"))), 210);
        assert!(edges.iter().all(|(edge, _)| edge.source.workload.len() <= 2048));
        store.tick(START + 76);
    }
}

#[test]
fn steps_are_windows_of_each_edge() {
    let store = filled(400, Limits::default());
    let windows: Vec<_> = (0..40).map(|n| START + 10 * n..START + 10 * n + 10).collect();
    let mut found = vec![0; windows.len()];
    let mut last = None;
    store.steps(&windows, &Filter::default(), Columns::Counts, &mut |_, step, signals| {
        assert!(last.replace(step) < Some(step) && signals.latency.is_empty() && signals.outcomes.iter().count() > 0);
        found[step] = signals.requests;
        true
    });
    let exact: Vec<u64> = (0..40).map(|n| (10 * n..10 * n + 10).sum()).collect();
    assert_eq!(found, exact);
    let mut calls = 0;
    store.steps(&windows, &Filter::default(), Columns::All, &mut |_, _, _| {
        calls += 1;
        calls < 3
    });
    assert_eq!(calls, 3);
}

#[test]
fn what_is_not_in_what_is_coarser_yet_goes_last() {
    // 50 edges: far more than the ceiling holds.
    let limits = Limits { memory: 400_000, ..Limits::default() };
    let store = Store::in_memory(limits);
    for n in 0..3000 {
        let entries = (0..50).map(|edge_number| (edge("web", &format!("s{edge_number}"), "v1"), signals(1))).collect();
        store.add(batch("shop/web", n + 1, START + n, entries), START + n + 1);
        store.tick(START + n + 1);
        assert!(store.shared.inner.lock().numbers().memory <= limits.memory);
    }
    let hour = START.div_ceil(3600) * 3600;
    (3001..3010).for_each(|n| store.tick(START + n));
    assert_eq!(requests(&store.edges(START..hour, &Filter::default())), 50 * (hour - START));
}

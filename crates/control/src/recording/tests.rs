//! What is recorded is what the store says; and no bytes whatever do more than fail.

use super::*;
use crate::signals::{Filter, Gap, Limits, Reports, Store};
use proptest::prelude::*;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use taut_insight::change::{Change, What};
use taut_insight::tick::Node;
use taut_model::signal::{Batch, Edge, Party, Protocol, Reporter, Second, Security, ServiceName, Signals};

const START: Second = 1_700_000_400;

fn edge(dice: &mut fastrand::Rng) -> Arc<Edge> {
    let mut pick = |names: &[&str]| names[dice.usize(..names.len())].to_owned();
    let mut party = || {
        let workload = pick(&["web-v1", "cart-v2", "unknown", "mit \"Anführung\"\n"]);
        Party { app: workload.clone(), version: pick(&["v1", "v2"]), namespace: pick(&["shop", "bank"]), principal: "spiffe://a/b".into(), workload }
    };
    let (source, destination) = (Arc::new(party()), Arc::new(party()));
    let name = pick(&["cart", "db"]);
    let service = Arc::new(ServiceName { host: format!("{name}.shop"), namespace: "shop".into(), name });
    let protocol = [Protocol::Http, Protocol::Grpc, Protocol::Tcp][dice.usize(..3)];
    let reporter = [Reporter::Source, Reporter::Destination][dice.usize(..2)];
    let security = [Security::MutualTls, Security::Plaintext, Security::Unknown][dice.usize(..3)];
    Arc::new(Edge { source, service, destination, protocol, route: "r".into(), reporter, security })
}

fn signals(dice: &mut fastrand::Rng) -> Signals {
    let mut signals = Signals { requests: dice.u64(..20), in_flight: dice.u64(..4), connections: dice.u64(..4), ..Signals::default() };
    (signals.request_bytes, signals.response_bytes, signals.opened, signals.closed) = (dice.u64(..9000), dice.u64(..), dice.u64(..3), dice.u64(..3));
    signals.response_bytes >>= 24;
    for _ in 0..signals.requests {
        signals.latency.record(dice.u64(..) >> dice.u32(24..64));
        // As few outcomes as are told apart in any order of adding them up.
        let grpc = [None, Some(0), Some(14)][dice.usize(..3)];
        signals.outcomes.count([200, 404, 503][dice.usize(..3)], grpc, [None, Some("timeout"), Some("reset")][dice.usize(..3)], 1);
    }
    signals
}

/// Some minutes of a mesh, the older ones known by tens of seconds only.
fn store(seed: u64, seconds: Second) -> Store {
    let mut dice = fastrand::Rng::with_seed(seed);
    let store = Store::in_memory(Limits { memory: 400_000, ..Limits::default() });
    let edges: Vec<_> = (0..6).map(|_| edge(&mut dice)).collect();
    for n in 0..seconds {
        let entries = edges.iter().filter(|_| n % 7 != 0).map(|edge| (edge.clone(), signals(&mut dice))).collect();
        let lost = if n == 50 { 5 } else { 0 };
        let batch =
            Batch { proxy: "shop/web".into(), epoch: if n < 50 { 1 } else { 2 }, sequence: n + 1, second: START + n, entries, lost, last: n == 49 };
        store.add(batch, START + n + 1);
        store.tick(START + n + 1);
    }
    (seconds + 1..seconds + 6).for_each(|n| store.tick(START + n));
    store
}

fn about(store: &Store, window: &Range<Second>) -> About {
    let changes = vec![serde_json::json!({"generation": 3, "note": "taut.crc32 \u{18}\u{8}00000000"})];
    About {
        version: "0.1.0".into(),
        mesh: "cluster.local".into(),
        window: window.clone(),
        namespace: None,
        gaps: store.gaps(window.clone()),
        changes,
        objectives: vec![serde_json::json!({"at": START, "objectives": [], "past": []})],
        endpoints: vec![Change { at: START + 1, nodes: vec![Node::new("shop", "cart")], what: What::Endpoints { before: 2, after: 1 } }],
    }
}

fn written(store: &Store, window: &Range<Second>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes).unwrap();
    store
        .each_bucket(window.clone(), &Filter::everything(), |bucket| {
            bucket.edges.into_iter().try_for_each(|(edge, signals)| writer.push(&Row { start: bucket.start, span: bucket.span, edge, signals }))
        })
        .unwrap();
    writer.finish(&about(store, window)).unwrap();
    bytes
}

struct Place {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn file(bytes: &[u8]) -> Place {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    std::fs::write(&path, bytes).unwrap();
    Place { _directory: directory, path }
}

#[test]
fn a_recording_says_what_the_store_says() {
    let seconds = 700;
    let store = store(1, seconds);
    let window = START..START + seconds;
    let place = file(&written(&store, &window));
    let recording = Recording::open(&place.path).unwrap();
    assert_eq!(*recording.about(), about(&store, &window));
    assert_eq!(recording.about().gaps.len(), 1, "{:?}", recording.about().gaps);
    let totals = recording.totals(&mut |_, _| {}).unwrap();
    assert!(totals.finest == 1 && totals.coarsest >= 10, "the store knows some of it coarsely: {totals:?}");
    let once = Filter::default();
    let source = Filter { reports: Reports::Of(Reporter::Source), ..Filter::default() };
    let bank = Filter { namespace: Some("bank".into()), ..Filter::everything() };
    // Where both know every bucket.
    for part in [0..seconds, 600..700, 0..600] {
        for filter in [&once, &source, &bank, &Filter::everything()] {
            let part = START + part.start..START + part.end;
            let (mut own, mut from_store) = (recording.edges(&part, filter, &mut |_, _| {}).unwrap(), store.edges(part.clone(), filter));
            assert!(own.len() > 1);
            // The store may answer with coarser frames than it has recorded, whose parts add up what was under way one after the other.
            for ((_, own), (_, theirs)) in own.iter_mut().zip(&mut from_store) {
                assert!(own.in_flight <= theirs.in_flight, "{part:?}");
                (own.in_flight, theirs.in_flight) = (0, 0);
            }
            assert_eq!(own, from_store, "{part:?}");
        }
    }
    let requests: u64 = store.edges(window, &once).iter().map(|(_, signals)| signals.requests).sum();
    assert_eq!(totals.requests, requests);
}

#[test]
fn a_recording_of_nothing_is_one() {
    let store = Store::in_memory(Limits::default());
    let place = file(&written(&store, &(START..START + 10)));
    let recording = Recording::open(&place.path).unwrap();
    assert_eq!(recording.totals(&mut |_, _| {}).unwrap(), Totals::default());
}

fn refused(bytes: &[u8]) -> String {
    read_all(&file(bytes).path).expect_err("it cannot be read").to_string()
}

fn read_all(path: &Path) -> Result<u64, Unreadable> {
    Ok(Recording::open(path)?.totals(&mut |_, _| {})?.rows)
}

#[test]
fn whatever_was_changed_is_noticed() {
    let bytes = written(&store(2, 20), &(START..START + 20));
    assert!(read_all(&file(&bytes).path).unwrap() > 50);
    let mut dice = fastrand::Rng::with_seed(3);
    for _ in 0..300 {
        let mut damaged = bytes.clone();
        damaged[dice.usize(..bytes.len())] ^= 1 << dice.u8(..8);
        refused(&damaged);
    }
    for _ in 0..50 {
        refused(&bytes[..dice.usize(..bytes.len())]);
    }
}

#[test]
fn what_is_no_recording_is_told_from_one_that_is_damaged() {
    let bytes = written(&store(2, 20), &(START..START + 20));
    for (bytes, why) in [
        (b"hello, I am a longer text".to_vec(), "is no recording: it is no Parquet file"),
        (Vec::new(), "is no recording: it is no Parquet file"),
        (bytes[..bytes.len() / 2].to_vec(), "is damaged: its end is missing"),
        (sealed(replaced(&bytes, b"taut.format", b"else.format")), "is no recording: it is a Parquet file of something else"),
        (
            sealed(replaced(&bytes, b"taut.format\x18\x011", b"taut.format\x18\x012")),
            "is a recording of format \"2\", and this taut reads format \"1\"",
        ),
        (replaced(&bytes, b"cluster.local", b"cluster.lokal"), "is damaged: its sum does not fit"),
    ] {
        let said = refused(&bytes);
        assert!(said.starts_with(why), "{said}");
    }
    assert!(matches!(Recording::open(Path::new("/proc/self")), Err(Unreadable::Io(_) | Unreadable::Foreign(_))));
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).rposition(|part| part == from).expect("it is in there");
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

/// The same with a sum that fits, as somebody would make it who means harm.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let tail = bytes.len() - 8;
    let footer = u32::from_le_bytes(bytes[tail..tail + 4].try_into().unwrap()) as usize;
    let Some(begin) = tail.checked_sub(footer) else { return bytes };
    let Some(at) = place_of_sum(&bytes[begin..]).map(|at| at + begin) else { return bytes };
    bytes[at..at + 8].copy_from_slice(NO_SUM.as_bytes());
    let sum = format!("{:08x}", crc32fast::hash(&bytes));
    bytes[at..at + 8].copy_from_slice(sum.as_bytes());
    bytes
}

#[test]
fn what_is_made_to_harm_is_an_error_or_harmless() {
    let bytes = written(&store(4, 12), &(START..START + 12));
    let tail = bytes.len() - 8;
    let footer = u32::from_le_bytes(bytes[tail..tail + 4].try_into().unwrap()) as usize;
    let mut dice = fastrand::Rng::with_seed(5);
    let (mut read, mut not) = (0, 0);
    for round in 0..1500 {
        let mut harmful = bytes.clone();
        for _ in 0..dice.usize(1..4) {
            // Half of them in the footer, which is a small part.
            let at = if round % 2 == 0 { dice.usize(tail - footer..tail + 4) } else { dice.usize(4..tail) };
            harmful[at] = if dice.bool() { dice.u8(..) } else { [0, 0x7f, 0x80, 0xff][dice.usize(..4)] };
        }
        match read_all(&file(&sealed(harmful)).path) {
            Ok(_) => read += 1,
            Err(_) => not += 1,
        }
    }
    // Many changes only change a number or a name.
    assert!(not > 300 && read > 100, "{read} were read, {not} were not");
}

proptest! {
    #[test]
    fn any_bytes_are_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300), magic in any::<bool>()) {
        let bytes = if magic { [b"PAR1".as_slice(), &bytes, b"PAR1"].concat() } else { bytes };
        prop_assert!(read_all(&file(&bytes).path).is_err());
    }
}

/// Takes so many bytes.
struct Full(usize);

impl io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_disk_that_is_full_is_said_to_be() {
    let store = store(6, 20);
    for room in [0, 3, 1000] {
        let written = Writer::new(Full(room)).and_then(|mut writer| {
            store.each_bucket(START..START + 20, &Filter::everything(), |bucket| {
                bucket.edges.into_iter().try_for_each(|(edge, signals)| writer.push(&Row { start: bucket.start, span: bucket.span, edge, signals }))
            })?;
            writer.finish(&About::default())
        });
        assert!(matches!(&written, Err(NotWritten::Io(error)) if error.kind() == io::ErrorKind::StorageFull), "{written:?}");
    }
}

#[test]
fn a_gap_survives() {
    let gap = Gap { from: 1, to: 2, why: "away".into(), proxy: None };
    let text = serde_json::to_string(std::slice::from_ref(&gap)).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Gap>>(&text).unwrap(), [gap]);
}

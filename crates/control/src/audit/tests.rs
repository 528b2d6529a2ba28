//! A log that was touched says so, and where.

use super::*;
use serde_json::json;
use std::path::PathBuf;

fn noon() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

struct Disk {
    state: tempfile::TempDir,
}

impl Disk {
    /// A log of so many entries.
    fn new(entries: u64) -> Self {
        let disk = Self { state: tempfile::tempdir().unwrap() };
        let audit = disk.open();
        (1..=entries).for_each(|number| audit.note(noon(), "anna", "certificate.issued", json!({"number": number})));
        disk
    }

    fn open(&self) -> Audit {
        Audit::open(Some(self.state.path())).unwrap()
    }

    fn file(&self) -> PathBuf {
        self.state.path().join("audit/00000001.jsonl")
    }

    fn rewrite(&self, change: impl Fn(&mut Vec<String>)) {
        let mut lines: Vec<String> = std::fs::read_to_string(self.file()).unwrap().lines().map(str::to_owned).collect();
        change(&mut lines);
        std::fs::write(self.file(), lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    }

    fn broken(&self) -> Option<(u64, String)> {
        self.open().verify().unwrap().broken.map(|broken| (broken.number, broken.why))
    }
}

#[test]
fn a_log_that_nobody_touched_holds_across_restarts() {
    let disk = Disk::new(5);
    disk.open().note(noon(), "bert", "trust.rotation", json!({}));
    let verified = disk.open().verify().unwrap();
    assert_eq!((verified.entries, verified.first, verified.last, verified.broken), (6, Some(1), Some(6), None));
    let found = disk.open().entries(2, |entry| entry.who == "anna").unwrap();
    assert_eq!(found.iter().map(|entry| entry.number).collect::<Vec<_>>(), [4, 5]);
    let memory = Audit::open(None).unwrap();
    assert_eq!(memory.verify().unwrap().entries, 0);
    memory.note(noon(), "anna", "x", json!({"b": 1, "a": [1.5, null]}));
    assert_eq!(memory.verify().unwrap().entries, 1);
}

#[test]
fn every_way_to_touch_it_is_found_at_the_first_entry_that_is_wrong() {
    type Change = fn(&mut Vec<String>);
    let cases: [(Change, u64, &str); 7] = [
        (|lines| lines[2] = lines[2].replace("anna", "bert"), 3, "not as it was written"),
        (|lines| lines[2] = lines[2].replace(r#""number":3}"#, r#""number":4}"#), 3, "not as it was written"),
        (|lines| drop(lines.remove(1)), 2, "entry 3 stands in its place"),
        (|lines| lines.swap(1, 2), 2, "entry 3 stands in its place"),
        (|lines| lines.truncate(3), 4, "the log ends before it, and entries up to 5 were written"),
        (|lines| lines.clear(), 1, "the log ends before it"),
        (|lines| lines[0] = "nonsense".to_owned(), 1, "cannot be read"),
    ];
    for (change, number, why) in cases {
        let disk = Disk::new(5);
        disk.rewrite(change);
        let broken = disk.broken().unwrap();
        assert!(broken.0 == number && broken.1.contains(why), "expected {number} {why}: {broken:?}");
    }
    // Entries that were made anew, hashes and all, do not end as they ended.
    let (disk, forged) = (Disk::new(5), Disk::new(4));
    forged.open().note(noon(), "bert", "certificate.issued", json!({"number": 5}));
    std::fs::copy(forged.file(), disk.file()).unwrap();
    assert_eq!(disk.broken().unwrap(), (5, "it is not the entry that was written".to_owned()));
}

#[test]
fn a_crash_in_the_middle_of_a_line_is_no_end() {
    let disk = Disk::new(2);
    let whole = std::fs::read(disk.file()).unwrap();
    std::fs::write(disk.file(), [&whole[..], b"{\"number\":3,\"at\":"].concat()).unwrap();
    disk.open().note(noon(), "anna", "x", json!({}));
    assert_eq!(disk.broken(), None);
    assert_eq!(disk.open().entries(9, |_| true).unwrap().len(), 3);
}

#[test]
fn old_files_go_and_the_rest_still_holds() {
    let state = tempfile::tempdir().unwrap();
    let (mut segments, mut newest) = Segments::of(state.path(), 600).unwrap();
    for number in 1..=100 {
        let entry = Entry::after(newest.as_ref(), noon(), "anna", "x", json!({ "number": number }));
        segments.append(&entry).unwrap();
        newest = Some(entry);
    }
    let files = std::fs::read_dir(state.path()).unwrap().count();
    assert!(files <= 17, "{files} files are kept");
    let audit = Audit(Arc::new(Mutex::new(Log { newest, kept: Kept::Disk(segments) })));
    let verified = audit.verify().unwrap();
    assert!(verified.broken.is_none() && verified.first.unwrap() > 1 && verified.last == Some(100), "{verified:?}");
}

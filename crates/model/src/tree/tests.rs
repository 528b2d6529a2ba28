//! Stories of documents: text in, nodes or problems out.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn values(text: &str) -> Vec<Value> {
    let read = documents(text, "a.yaml");
    assert!(read.iter().all(|document| document.problems.is_empty()), "{read:?}");
    read.iter().filter_map(|document| document.root.as_ref()).map(Node::value).collect()
}

/// Code, line and column of each problem.
fn problems(text: &str) -> Vec<(&'static str, u32, u32)> {
    let at = |problem: Problem| {
        let location = problem.location.unwrap_or_default();
        (problem.code, location.line, location.column)
    };
    documents(text, "a.yaml").into_iter().flat_map(|document| document.problems).map(at).collect()
}

#[test]
fn a_file_holds_any_number_of_documents() {
    assert_eq!(values(""), [] as [Value; 0]);
    assert_eq!(values("# only a comment\n"), [] as [Value; 0]);
    assert_eq!(values("---\n---\n# nothing\n---\n"), [] as [Value; 0]);
    assert_eq!(values("a: 1\n---\nb: 2\n"), [json!({"a": 1}), json!({"b": 2})]);
    assert_eq!(values("\u{feff}# licence\n%YAML 1.2\n--- # first\na: 1\n...\n---\nb: 2"), [json!({"a": 1}), json!({"b": 2})]);
    assert_eq!(values(r#"{"a": [1, "x", null]}"#), [json!({"a": [1, "x", null]})]);
    assert_eq!(values("a: |\n  --- not a separator\n  x\n"), [json!({"a": "--- not a separator\nx\n"})]);
    assert_eq!(values("a: 1\r\nb: x\r\n---\r\nc: 2\r\n"), [json!({"a": 1, "b": "x"}), json!({"c": 2})]);
}

#[test]
fn nodes_know_their_places() {
    let read = documents("# x\n---\na:\n  - b: täxt\n    c:\n", "a.yaml");
    let root = read[0].root.as_ref().unwrap();
    let Content::Map(entries) = &root.content else { panic!("a map") };
    assert_eq!(entries[0].key_place, Place { line: 3, column: 1, width: 1 });
    let Content::List(items) = &entries[0].value.content else { panic!("a list") };
    assert_eq!((items[0].place.line, items[0].place.column), (4, 5));
    assert_eq!(items[0].get("b").unwrap().place, Place { line: 4, column: 8, width: 4 });
    assert_eq!(items[0].get("c").unwrap().place, Place { line: 5, column: 5, width: 1 });
}

#[test]
fn anchors_aliases_and_merge_keys_expand() {
    assert_eq!(values("a: &x {p: 1}\nb: *x\n"), [json!({"a": {"p": 1}, "b": {"p": 1}})]);
    assert_eq!(values("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\n"), [json!({"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}})]);
    assert_eq!(values("a: &x {p: 1}\nb: {<<: [*x, {p: 5, q: 2}]}\n"), [json!({"a": {"p": 1}, "b": {"p": 1, "q": 2}})]);
    assert_eq!(values("a: {\"<<\": 1}\n"), [json!({"a": {"<<": 1}})]);
}

#[test]
fn what_cannot_be_read_is_said_with_its_place_and_hides_nothing_after_it() {
    for (text, want) in [
        ("a: 1\nb: 2\na: 3\n", vec![("DuplicateKey", 3, 1)]),
        ("a: 1\n\tb: 2\n", vec![("SyntaxError", 2, 1)]),
        ("a: b: c\n", vec![("SyntaxError", 1, 5)]),
        ("a: *x\n", vec![("SyntaxError", 1, 4)]),
        ("a: &x [*x]\n", vec![("SyntaxError", 1, 8)]),
        ("a: !thing b\n", vec![("UnsupportedTag", 1, 4)]),
        ("a: .nan\n", vec![("WrongType", 1, 4)]),
        ("{a: 1}: b\n", vec![("SyntaxError", 1, 1)]),
        ("a: {<<: 1}\n", vec![("WrongType", 1, 5)]),
        ("a: b: c\n---\na: 1\na: 2\n---\nc: [1\n---\nd: 1\n", vec![("SyntaxError", 1, 5), ("DuplicateKey", 4, 1), ("SyntaxError", 6, 4)]),
    ] {
        assert_eq!(problems(text), want, "{text}");
    }
    let after = documents("a: [1\n---\nd: 1\n", "a.yaml");
    assert_eq!(after.last().and_then(|document| document.root.as_ref()).map(Node::value), Some(json!({"d": 1})));
}

#[test]
fn a_small_file_cannot_grow_large() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let previous = format!("*a{},", level - 1).repeat(10);
        laughs.push_str(&format!("a{level}: &a{level} [{previous}]\n"));
    }
    assert_eq!(problems(&laughs)[0].0, "TooLarge");
    assert_eq!(problems(&"[".repeat(MAX_DEPTH + 1))[0].0, "TooDeep");
    assert_eq!(problems(&"[".repeat(5000))[0].0, "SyntaxError");
    assert_eq!(problems(&"- ".repeat(5000))[0].0, "TooDeep");
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
        documents(&text, "a.yaml");
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        documents(&String::from_utf8_lossy(&bytes), "a.yaml");
    }

    #[test]
    fn arbitrary_yaml_ish_text_never_panics(parts in proptest::collection::vec(
        proptest::sample::select(vec!["a", "b: ", "- ", ": ", "\n", "\n  ", "\n    ", "---\n", "...\n", "{", "}", "[", "]", ",", "\"", "'", "&x ", "*x",
            "|\n", ">-\n", "# c", "\t", "!!str ", "!t ", "? ", "<<: ", "%YAML 1.2\n", "\r\n", "ü", "\u{feff}", "0x1", "~", "\\"]), 0..60)) {
        documents(&parts.concat(), "a.yaml");
    }

    #[test]
    fn what_json_says_reads_back(numbers in proptest::collection::vec(any::<i64>(), 0..5), texts in proptest::collection::btree_map("[a-z]{1,5}", "[ -~]{0,12}", 0..5)) {
        let value = json!({"n": numbers, "t": texts});
        prop_assert_eq!(values(&value.to_string()), [value]);
    }
}

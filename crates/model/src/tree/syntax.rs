//! YAML syntax errors in words that say what to do.

use super::Place;
use crate::problem::{Problem, Severity};
use saphyr_parser::ScanError;

/// The problem for a parser's error in `chunk`, which starts after `lines_before` lines of the file. `open` is where the
/// innermost list or map starts.
pub fn problem(error: &ScanError, chunk: &str, lines_before: u32, open: Option<Place>, file: &str) -> Problem {
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let (line, column) = (small(error.marker().line()), small(error.marker().col() + 1));
    let (line, column, message, help) = match indenting_tab(chunk, line) {
        Some((line, column)) => (line, column, "a tab indents this line".to_owned(), Some("YAML indents with spaces only: replace the tab")),
        None => {
            let (message, help) = say(error.info());
            (line, column, message, help)
        }
    };
    let place = match open {
        // The parser notices at the next line or at the end; the bracket is what people look for.
        Some(open) if message.ends_with("is not closed") && open.line < line + lines_before => open,
        _ => Place { line: line + lines_before, column, width: 1 },
    };
    Problem {
        severity: Severity::Error,
        code: "SyntaxError",
        object: None,
        path: String::new(),
        location: Some(place.location(file)),
        message,
        help: help.map(str::to_owned),
        excerpt: None,
    }
}

/// A tab among the leading blanks of the line of the error or of the one before it: what the parser says about it is
/// seldom about the tab.
fn indenting_tab(chunk: &str, line: u32) -> Option<(u32, u32)> {
    let before = usize::try_from(line.saturating_sub(2)).ok()?;
    for (number, content) in chunk.lines().enumerate().skip(before).take(2) {
        let indent = content.len() - content.trim_start_matches([' ', '\t']).len();
        if indent < content.len()
            && let Some(tab) = content[..indent].find('\t')
        {
            return Some((u32::try_from(number).ok()? + 1, u32::try_from(tab).ok()? + 1));
        }
    }
    None
}

/// The parser's words, and ours. The parser's stay where we have none that are better.
fn say(info: &str) -> (String, Option<&'static str>) {
    const TABLE: &[(&str, &str, &str)] = &[
        (
            "mapping values are not allowed",
            "a colon where no key can end",
            "indent the line like its neighbours, or put the value in quotes if the colon belongs to it",
        ),
        ("illegal placement of ':'", "a colon where no key can end", "put the value in quotes if the colon belongs to it"),
        (
            "simple key expect",
            "a line that is neither `key: value` nor `- item`",
            "add the colon after the key, or indent the line as part of the value above",
        ),
        ("did not find expected key", "the line does not fit the map it stands in", "indent it exactly like the other keys"),
        (
            "did not find expected '-' indicator",
            "the line does not fit the list it stands in",
            "start it with `- `, or indent it like the key that the list belongs to",
        ),
        ("expected ',' or '}'", "this `{` is not closed", "close it with `}`, or put a comma between the entries"),
        ("expected ',' or ']'", "this `[` is not closed", "close it with `]`, or put a comma between the items"),
        ("quoted scalar, found unexpected end of stream", "a quote is not closed", "add the closing quote"),
        ("quoted scalar, found unexpected document indicator", "a quote is not closed", "add the closing quote"),
        ("unknown escape character", "an unknown escape in double quotes", "write \\\\ for a backslash, or use single quotes"),
        ("trailing content after double-quoted", "text follows a closing quote", "put the whole value in quotes"),
        ("scanning an anchor or alias", "a value that starts with `*` or `&` is an alias or an anchor, and this is neither", "put it in quotes"),
        (
            "unknown anchor",
            "an alias refers to an anchor that is not defined above",
            "put a value that starts with `*` in quotes, or define the anchor",
        ),
        ("block sequence entries are not allowed", "a list item where none can start", "put the `- ` on a line of its own below the key"),
        ("recursion limit", "lists and maps nest too deep", "no kind needs more than a few levels: look for a bracket too many"),
        ("tab", "a tab where only spaces are allowed", "replace the tab by spaces"),
        ("unexpected character: `@'", "a value cannot start with @", "put it in quotes"),
        ("unexpected character: ``'", "a value cannot start with a back quote", "put it in quotes"),
        ("unexpected character: `%'", "a value cannot start with %", "put it in quotes"),
        ("invalid indentation", "the indentation fits nothing above", "indent it exactly like its neighbours"),
    ];
    match TABLE.iter().find(|(theirs, ..)| info.contains(theirs)) {
        Some((_, message, help)) => ((*message).to_owned(), Some(help)),
        None => (format!("this is not YAML: {info}"), None),
    }
}

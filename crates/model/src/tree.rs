//! YAML text to trees of nodes that know where they stood. Knows nothing of Kubernetes but how its reader takes scalars.

mod scalar;
mod syntax;

use crate::origin::Location;
use crate::problem::{Problem, Severity};
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Number, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Lists and maps may nest this deep: no kind needs a third of it.
pub const MAX_DEPTH: usize = 100;
/// Aliases of one document may add this many nodes, so that a small file cannot grow into a large tree ("billion laughs").
pub const MAX_ALIAS_NODES: usize = 100_000;

/// Where a node stands. Line and column start at 1 and count characters; `width` is its length on that line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub line: u32,
    pub column: u32,
    pub width: u32,
}

impl Place {
    pub fn location(self, file: &str) -> Location {
        Location { file: file.to_owned(), line: self.line, column: self.column }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub place: Place,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    /// In the order written; no key twice.
    Map(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: String,
    pub key_place: Place,
    pub value: Node,
}

/// One document of a file. `root` is absent when it is empty or could not be read; then `problems` says why.
#[derive(Debug, Default)]
pub struct Document {
    pub root: Option<Node>,
    pub problems: Vec<Problem>,
}

impl Node {
    /// The value of `key`, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.content {
            Content::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// As JSON.
    pub fn value(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(truth) => Value::Bool(*truth),
            Content::Number(number) => Value::Number(number.clone()),
            Content::Text(text) => Value::String(text.clone()),
            Content::List(items) => items.iter().map(Node::value).collect(),
            Content::Map(entries) => Value::Object(entries.iter().map(|entry| (entry.key.clone(), entry.value.value())).collect()),
        }
    }

    /// Number of nodes, and how deep they nest (1 for a scalar).
    fn extent(&self) -> (usize, usize) {
        let (mut nodes, mut depth) = (1, 0);
        let mut add = |child: &Node| {
            let (more, deep) = child.extent();
            nodes += more;
            depth = depth.max(deep);
        };
        match &self.content {
            Content::List(items) => items.iter().for_each(&mut add),
            Content::Map(entries) => entries.iter().for_each(|entry| add(&entry.value)),
            _ => {}
        }
        (nodes, depth + 1)
    }
}

/// Every document of `text`, in order. A document that cannot be read does not hide those after it.
pub fn documents(text: &str, file: &str) -> Vec<Document> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Vec::new();
    for (line, chunk) in chunks(text) {
        read_chunk(chunk, line, file, &mut found);
    }
    found
}

/// Cuts at lines that start with `---`: YAML allows such a line nowhere inside a document (YAML 1.2.2, 9.1.2), so the cut
/// is right even where what stands around it is broken. Gives the number of lines before each chunk. Directives stay with
/// the document that they precede.
fn chunks(text: &str) -> Vec<(u32, &str)> {
    let mut chunks = Vec::new();
    let (mut start, mut start_line, mut only_preamble) = (0, 0, true);
    let mut offset = 0;
    for (line, content) in (0u32..).zip(text.split_inclusive('\n')) {
        let separator = content.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if separator {
            if !only_preamble {
                chunks.push((start_line, &text[start..offset]));
                (start, start_line) = (offset, line);
            }
            only_preamble = false;
        }
        only_preamble &= content.trim().is_empty() || content.starts_with(['#', '%']);
        offset += content.len();
    }
    chunks.push((start_line, &text[start..]));
    chunks
}

fn read_chunk(chunk: &str, lines_before: u32, file: &str, found: &mut Vec<Document>) {
    let mut builder = Builder::new(lines_before, file);
    for event in Parser::new_from_str(chunk) {
        match event {
            Ok((Event::DocumentEnd, _)) => found.push(builder.finish()),
            Ok((event, span)) => {
                if builder.event(event, span).is_err() {
                    found.push(builder.finish());
                    return;
                }
            }
            Err(error) => {
                let open = builder.frames.last().map(Frame::place);
                builder.problems.push(syntax::problem(&error, chunk, lines_before, open, file));
                found.push(builder.finish());
                return;
            }
        }
    }
}

/// The rest of the document cannot be read; the reason is among the problems.
struct Abandoned;

enum Frame {
    List { place: Place, anchor: usize, items: Vec<Node> },
    Map { place: Place, anchor: usize, entries: Vec<Entry>, seen: BTreeMap<String, Place>, merged: Vec<Entry>, key: Option<Key> },
}

impl Frame {
    fn place(&self) -> Place {
        match self {
            Self::List { place, .. } | Self::Map { place, .. } => *place,
        }
    }
}

struct Key {
    text: String,
    place: Place,
    /// An unquoted `<<`: the value's entries are taken over.
    merge: bool,
}

/// Puts the nodes of one document together, event by event.
struct Builder<'a> {
    lines_before: u32,
    file: &'a str,
    frames: Vec<Frame>,
    root: Option<Node>,
    anchors: BTreeMap<usize, Node>,
    alias_nodes: usize,
    problems: Vec<Problem>,
}

impl<'a> Builder<'a> {
    fn new(lines_before: u32, file: &'a str) -> Self {
        let (frames, problems, anchors) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { lines_before, file, frames, root: None, anchors, alias_nodes: 0, problems }
    }

    /// Gives the document out and starts the next one.
    fn finish(&mut self) -> Document {
        let done = std::mem::replace(self, Self::new(self.lines_before, self.file));
        let readable = done.frames.is_empty() && done.problems.is_empty();
        Document { root: done.root.filter(|root| readable && root.content != Content::Null), problems: done.problems }
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Abandoned> {
        let place = self.place(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, tag, place),
            Event::Alias(anchor) => self.alias(anchor, place),
            Event::SequenceStart(anchor, tag) => {
                self.open(place, tag, "seq")?;
                self.frames.push(Frame::List { place, anchor, items: Vec::new() });
                Ok(())
            }
            Event::MappingStart(anchor, tag) => {
                self.open(place, tag, "map")?;
                let (entries, merged) = (Vec::new(), Vec::new());
                self.frames.push(Frame::Map { place, anchor, entries, merged, seen: BTreeMap::new(), key: None });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => match self.frames.pop() {
                Some(Frame::List { place, anchor, items }) => self.complete(Node { place, content: Content::List(items) }, anchor),
                Some(Frame::Map { place, anchor, mut entries, seen, merged, .. }) => {
                    let mut taken: std::collections::BTreeSet<_> = seen.into_keys().collect();
                    entries.extend(merged.into_iter().filter(|entry| taken.insert(entry.key.clone())));
                    self.complete(Node { place, content: Content::Map(entries) }, anchor)
                }
                None => Ok(()),
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => Ok(()),
        }
    }

    fn place(&self, span: Span) -> Place {
        let width = if span.end.line() == span.start.line() { span.end.col().saturating_sub(span.start.col()) } else { 1 };
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Place { line: small(span.start.line()) + self.lines_before, column: small(span.start.col() + 1), width: small(width.max(1)) }
    }

    fn problem(&mut self, place: Place, code: &'static str, message: String, help: Option<String>) {
        let location = Some(place.location(self.file));
        self.problems.push(Problem { severity: Severity::Error, code, object: None, path: String::new(), location, message, help, excerpt: None });
    }

    fn abandon(&mut self, place: Place, code: &'static str, message: String, help: Option<String>) -> Result<(), Abandoned> {
        self.problem(place, code, message, help);
        Err(Abandoned)
    }

    /// Checks that a list or a map may start here.
    fn open(&mut self, place: Place, tag: Option<Cow<'_, Tag>>, expected: &str) -> Result<(), Abandoned> {
        if self.frames.len() >= MAX_DEPTH {
            return self.abandon(place, "TooDeep", format!("lists and maps nest deeper than {MAX_DEPTH} levels"), None);
        }
        if matches!(self.frames.last(), Some(Frame::Map { key: None, .. })) {
            return self.abandon(
                place,
                "SyntaxError",
                "a key is a list or a map, and must be text".to_owned(),
                Some("put a value that starts with { or [ in quotes".to_owned()),
            );
        }
        match tag {
            Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == expected) => self.unsupported_tag(&tag, place),
            _ => {}
        }
        Ok(())
    }

    fn unsupported_tag(&mut self, tag: &Tag, place: Place) {
        let message = format!("the tag {tag} is not supported");
        self.problem(place, "UnsupportedTag", message, Some("remove the tag; only !!str, !!int, !!float, !!bool and !!null are read".to_owned()));
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, anchor: usize, tag: Option<Cow<'_, Tag>>, place: Place) -> Result<(), Abandoned> {
        if matches!(self.frames.last(), Some(Frame::Map { key: None, .. })) {
            return self.key(text, style == ScalarStyle::Plain, anchor, place);
        }
        let content = match scalar::read(text, style == ScalarStyle::Plain, tag.as_deref()) {
            Ok(content) => content,
            Err(scalar::Unreadable::Tag) => {
                if let Some(tag) = tag {
                    self.unsupported_tag(&tag, place);
                }
                Content::Text(text.to_owned())
            }
            Err(scalar::Unreadable::Number(message)) => {
                self.problem(place, "WrongType", message.to_owned(), Some("put it in quotes if it is text".to_owned()));
                Content::Text(text.to_owned())
            }
        };
        // The parser puts an absent value somewhere behind its key; people look for it at the key.
        let place = match self.frames.last() {
            Some(Frame::Map { key: Some(key), .. }) if text.is_empty() && style == ScalarStyle::Plain => key.place,
            _ => place,
        };
        self.complete(Node { place, content }, anchor)
    }

    fn key(&mut self, text: &str, plain: bool, anchor: usize, place: Place) -> Result<(), Abandoned> {
        if text.is_empty() && plain {
            return self.abandon(place, "SyntaxError", "a key is missing before the colon".to_owned(), None);
        }
        if anchor != 0 {
            self.anchors.insert(anchor, Node { place, content: Content::Text(text.to_owned()) });
        }
        let merge = plain && text == "<<";
        let Some(Frame::Map { key, seen, .. }) = self.frames.last_mut() else { return Ok(()) };
        *key = Some(Key { text: text.to_owned(), place, merge });
        if merge {
            return Ok(());
        }
        if let Some(first) = seen.insert(text.to_owned(), place) {
            let message = format!("the key {text:?} stands twice; the first is at line {}, column {}", first.line, first.column);
            self.problem(place, "DuplicateKey", message, Some("remove one of them".to_owned()));
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<(), Abandoned> {
        let Some(node) = self.anchors.get(&anchor) else {
            return self.abandon(place, "SyntaxError", "an alias stands inside the node it refers to".to_owned(), None);
        };
        let (nodes, depth) = node.extent();
        self.alias_nodes += nodes;
        if self.alias_nodes > MAX_ALIAS_NODES {
            return self.abandon(place, "TooLarge", format!("aliases expand to more than {MAX_ALIAS_NODES} nodes"), None);
        }
        if self.frames.len() + depth > MAX_DEPTH {
            return self.abandon(place, "TooDeep", format!("lists and maps nest deeper than {MAX_DEPTH} levels"), None);
        }
        let content = node.content.clone();
        match (self.frames.last(), content) {
            (Some(Frame::Map { key: None, .. }), Content::Text(text)) => self.key(&text, false, 0, place),
            (Some(Frame::Map { key: None, .. }), _) => {
                self.abandon(place, "SyntaxError", "a key refers to a list, a map, a number or a truth value, and must be text".to_owned(), None)
            }
            (_, content) => self.complete(Node { place, content }, 0),
        }
    }

    /// Hands a finished node to what encloses it.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Abandoned> {
        if anchor != 0 {
            self.alias_nodes += node.extent().0;
            if self.alias_nodes > MAX_ALIAS_NODES {
                return self.abandon(node.place, "TooLarge", format!("anchors hold more than {MAX_ALIAS_NODES} nodes"), None);
            }
            self.anchors.insert(anchor, node.clone());
        }
        match self.frames.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map { entries, merged, key, .. }) => match key.take() {
                Some(Key { merge: true, place, .. }) => {
                    let Some(taken_over) = mergeable(node) else {
                        self.problem(place, "WrongType", "<< takes over the entries of a map or of a list of maps".to_owned(), None);
                        return Ok(());
                    };
                    merged.extend(taken_over);
                }
                Some(Key { text, place, .. }) => entries.push(Entry { key: text, key_place: place, value: node }),
                None => {}
            },
        }
        Ok(())
    }
}

fn mergeable(node: Node) -> Option<Vec<Entry>> {
    match node.content {
        Content::Map(entries) => Some(entries),
        Content::List(items) => items.into_iter().map(mergeable).collect::<Option<Vec<_>>>().map(|lists| lists.into_iter().flatten().collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

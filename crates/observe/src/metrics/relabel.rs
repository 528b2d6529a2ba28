//! What Telemetry leaves out of Istio's standard metrics and changes in their labels, when they are read: counting stays as it is.

use crate::labels::reporter_name;
use crate::names::label;
use crate::record::Reporter;
use crate::series::raw_pair;
use std::borrow::Cow;
use std::collections::BTreeMap;
use taut_model::telemetry::{MetricOverride, TagChange};

/// What two series become when nothing tells them apart any more.
pub(super) trait Sum: Clone {
    fn add(&mut self, other: &Self);
}

/// The series of one metric as they are to be read, by their labels.
pub(super) fn changed<'a, V: Sum>(rules: &[MetricOverride], metric: &str, all: &'a [(Box<str>, V)]) -> Cow<'a, [(Box<str>, V)]> {
    let rules: Vec<&MetricOverride> = rules.iter().filter(|rule| rule.metric.as_deref().is_none_or(|named| named == metric)).collect();
    if rules.is_empty() {
        return Cow::Borrowed(all);
    }
    let mut merged: BTreeMap<Box<str>, V> = BTreeMap::new();
    for (text, value) in all {
        let Some(text) = relabelled(&rules, text) else { continue };
        merged.entry(text).and_modify(|sum| sum.add(value)).or_insert_with(|| value.clone());
    }
    Cow::Owned(merged.into_iter().collect())
}

/// `None`: left out.
fn relabelled(rules: &[&MetricOverride], text: &str) -> Option<Box<str>> {
    let mut labels = pairs(text);
    let is_client = labels.iter().any(|(name, value)| *name == label::REPORTER && value == reporter_name(Reporter::Source));
    let mut disabled = false;
    let about = |rule: &&&MetricOverride| if is_client { rule.mode.includes_client() } else { rule.mode.includes_server() };
    for rule in rules.iter().filter(about) {
        disabled = rule.disabled.unwrap_or(disabled);
        for (name, change) in &rule.tags {
            let at = labels.iter().position(|(known, _)| known == name);
            match (change, at) {
                (TagChange::Remove, Some(at)) => drop(labels.remove(at)),
                (TagChange::Remove, None) => {}
                (TagChange::Set(value), Some(at)) => labels[at].1.clone_from(value),
                (TagChange::Set(value), None) => labels.push((name, value.clone())),
            }
        }
    }
    let mut out = String::with_capacity(text.len());
    labels.iter().for_each(|(name, value)| raw_pair(&mut out, name, value));
    (!disabled).then(|| out.into())
}

/// The labels of a series, from the text that [`raw_pair`] makes of them.
pub(super) fn pairs(text: &str) -> Vec<(&str, String)> {
    let mut pairs = Vec::with_capacity(26);
    let mut rest = text;
    while let Some((name, after)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut characters = after.char_indices();
        rest = "";
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    rest = after[at + 1..].trim_start_matches(',');
                    break;
                }
                '\\' => value.extend(characters.next().map(|(_, escaped)| if escaped == 'n' { '\n' } else { escaped })),
                other => value.push(other),
            }
        }
        pairs.push((name, value));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use taut_model::telemetry::Mode;

    impl Sum for u64 {
        fn add(&mut self, other: &Self) {
            *self += other;
        }
    }

    fn rule(mode: Mode, metric: Option<&str>, disabled: Option<bool>, tags: &[(&str, TagChange)]) -> MetricOverride {
        let tags = tags.iter().map(|(name, change)| ((*name).to_owned(), change.clone())).collect();
        MetricOverride { mode, metric: metric.map(Into::into), disabled, tags }
    }

    #[test]
    fn labels_are_read_as_they_were_written() {
        let mut text = String::new();
        for (name, value) in [("reporter", "source"), ("odd", "a\"b\\c\nd,e=\"f\""), ("empty", "")] {
            raw_pair(&mut text, name, value);
        }
        let read = pairs(&text);
        assert_eq!(
            read.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>(),
            [("reporter", "source"), ("odd", "a\"b\\c\nd,e=\"f\""), ("empty", ""),]
        );
    }

    #[test]
    fn what_no_label_tells_apart_is_one_series() {
        let all: Vec<(Box<str>, u64)> = vec![
            ("reporter=\"source\",code=\"200\"".into(), 1),
            ("reporter=\"source\",code=\"503\"".into(), 2),
            ("reporter=\"destination\",code=\"200\"".into(), 4),
        ];
        let text = |rules: &[MetricOverride]| {
            let changed = changed(rules, "requests", &all);
            changed.iter().map(|(text, value)| format!("{text} {value}")).collect::<Vec<_>>()
        };
        let remove = || [("code", TagChange::Remove)];
        assert_eq!(text(&[]).len(), 3);
        assert_eq!(text(&[rule(Mode::Both, Some("other"), Some(true), &[])]).len(), 3);
        assert_eq!(text(&[rule(Mode::Both, None, None, &remove())]), ["reporter=\"destination\" 4", "reporter=\"source\" 3"]);
        assert_eq!(text(&[rule(Mode::Client, Some("requests"), Some(true), &[])]), ["reporter=\"destination\",code=\"200\" 4"]);
        let set = [("code", TagChange::Set("any".into())), ("cell", TagChange::Set("\"a\"".into()))];
        assert_eq!(text(&[rule(Mode::Server, None, None, &set)])[0], "reporter=\"destination\",code=\"any\",cell=\"\\\"a\\\"\" 4");
        let back = [rule(Mode::Both, None, Some(true), &[]), rule(Mode::Client, None, Some(false), &[])];
        assert_eq!(text(&back).len(), 2);
    }
}

//! The part of JSONPath that column definitions use: `.spec.ports[*].port`, `[0]`, `[?(@.type=="Ready")]`.

use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step<'a> {
    Field(String),
    Every,
    At(usize),
    /// Elements whose field has this text.
    Where(Vec<&'a str>, &'a str),
}

/// All values that `path` reaches; none when the path cannot be read, or leads nowhere.
pub(super) fn find<'v>(value: &'v Value, path: &str) -> Vec<&'v Value> {
    let Some(steps) = steps(path) else { return Vec::new() };
    steps.iter().fold(vec![value], |found, step| found.into_iter().flat_map(|value| follow(value, step)).collect())
}

fn follow<'v>(value: &'v Value, step: &Step<'_>) -> Vec<&'v Value> {
    let items = || value.as_array().into_iter().flatten();
    match step {
        Step::Field(name) => value.get(name).into_iter().collect(),
        Step::Every => items().chain(value.as_object().into_iter().flat_map(|fields| fields.values())).collect(),
        Step::At(index) => value.get(index).into_iter().collect(),
        Step::Where(path, text) => items().filter(|item| path.iter().fold(*item, |value, name| &value[*name]).as_str() == Some(*text)).collect(),
    }
}

fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut steps = Vec::new();
    let mut rest = path.strip_prefix('$').unwrap_or(path);
    while !rest.is_empty() {
        let (step, after) = match rest.strip_prefix('[') {
            Some(bracket) => {
                let end = bracket.find(']')?;
                (bracket_step(&bracket[..end])?, &bracket[end + 1..])
            }
            None => field_step(rest.strip_prefix('.').unwrap_or(rest))?,
        };
        steps.push(step);
        rest = after;
    }
    Some(steps)
}

/// A name up to the next `.` or `[`; a backslash keeps a dot in the name.
fn field_step(text: &str) -> Option<(Step<'_>, &str)> {
    let mut name = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '.' | '[' => return (!name.is_empty()).then(|| (Step::Field(name), &text[at..])),
            '\\' => name.extend(characters.next().map(|(_, escaped)| escaped)),
            plain => name.push(plain),
        }
    }
    (!name.is_empty()).then_some((Step::Field(name), ""))
}

fn bracket_step(inner: &str) -> Option<Step<'_>> {
    if inner == "*" {
        return Some(Step::Every);
    }
    if let Some(condition) = inner.strip_prefix("?(@.").and_then(|text| text.strip_suffix(')')) {
        let (path, text) = condition.split_once("==")?;
        return Some(Step::Where(path.trim().split('.').collect(), text.trim().trim_matches(['"', '\''])));
    }
    match inner.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        Some(name) => Some(Step::Field(name.to_owned())),
        None => inner.parse().ok().map(Step::At),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_find_their_values() {
        let value = json!({
            "metadata": {"labels": {"app.kubernetes.io/name": "x"}},
            "spec": {"hosts": ["a", "b"], "ports": [{"port": 80}, {"port": 443}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Live", "status": "False"}]},
        });
        for (path, want) in [
            (".spec.hosts", vec![json!(["a", "b"])]),
            (".spec.ports[*].port", vec![json!(80), json!(443)]),
            (".spec.ports[1].port", vec![json!(443)]),
            (".spec.hosts[*]", vec![json!("a"), json!("b")]),
            (r#".status.conditions[?(@.type=="Live")].status"#, vec![json!("False")]),
            (r".metadata.labels.app\.kubernetes\.io/name", vec![json!("x")]),
            (".spec.nothing[*].x", vec![]),
            (".spec.ports[", vec![]),
            ("", vec![value.clone()]),
        ] {
            assert_eq!(find(&value, path), want.iter().collect::<Vec<_>>(), "{path}");
        }
    }
}

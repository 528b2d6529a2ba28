//! Label and field selectors, in the grammar of Kubernetes.

use serde_json::Value;
use taut_model::object::Object;

/// All requirements must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    /// True for an object without the key, too.
    NotIn(Vec<String>),
    Exists,
    Absent,
}

impl Selector {
    /// `app=reviews,version!=v1,tier in (a,b),!legacy`
    pub fn labels(text: &str) -> Result<Self, String> {
        let requirements: Result<Vec<_>, _> = split(text).into_iter().map(label_requirement).collect();
        Ok(Selector { requirements: requirements? })
    }

    /// `metadata.name=reviews,metadata.namespace!=default`
    pub fn fields(text: &str) -> Result<Self, String> {
        let requirement = |part: &str| {
            let (key, test) = equality(part).ok_or_else(|| format!("fieldSelector: {part:?} is not of the form field=value or field!=value"))?;
            Ok::<_, String>(Requirement { key, test })
        };
        let requirements: Result<Vec<_>, _> = split(text).into_iter().map(requirement).collect();
        Ok(Selector { requirements: requirements? })
    }

    pub fn accepts_labels_of(&self, object: &Object) -> bool {
        let labels = &object.value["metadata"]["labels"];
        self.accepts(&|key| labels[key].as_str())
    }

    /// Whether what has these labels is meant.
    pub fn accepts<'a>(&self, label: &dyn Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| requirement.test.holds(label(&requirement.key)))
    }

    /// Whether it says anything of a label.
    pub fn names(&self, key: &str) -> bool {
        self.requirements.iter().any(|requirement| requirement.key == key)
    }

    pub fn accepts_fields_of(&self, object: &Object) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = field(&object.value, &requirement.key);
            requirement.test.holds(Some(&value))
        })
    }

    /// The first field that objects of this kind cannot be selected by.
    pub fn unselectable(&self, kind: &str) -> Option<&str> {
        let known = |key: &str| match kind {
            _ if matches!(key, "metadata.name" | "metadata.namespace") => true,
            "Event" => key.starts_with("involvedObject.") || matches!(key, "reason" | "type" | "source" | "reportingComponent"),
            "Pod" => matches!(key, "spec.nodeName" | "spec.serviceAccountName" | "spec.restartPolicy" | "status.phase" | "status.podIP"),
            "Namespace" => key == "status.phase",
            "Secret" => key == "type",
            "Node" => key == "spec.unschedulable",
            "Service" => matches!(key, "spec.clusterIP" | "spec.type"),
            _ => false,
        };
        self.requirements.iter().map(|requirement| requirement.key.as_str()).find(|key| !known(key))
    }
}

impl Test {
    fn holds(&self, value: Option<&str>) -> bool {
        let among = |values: &[String]| value.is_some_and(|value| values.iter().any(|other| other == value));
        match self {
            Test::In(values) => among(values),
            Test::NotIn(values) => !among(values),
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
        }
    }
}

/// The text of a field; an absent one is empty, as in Kubernetes.
fn field(object: &Value, path: &str) -> String {
    match path.split('.').fold(object, |value, name| &value[name]) {
        Value::String(text) => text.clone(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

/// At commas that are not inside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0u32;
    let parts = text.split(move |character| {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// `key=value`, `key==value`, `key!=value`.
fn equality(part: &str) -> Option<(String, Test)> {
    let at = part.find('=')?;
    let (key, negated) = match part[..at].strip_suffix('!') {
        Some(key) => (key, true),
        None => (&part[..at], false),
    };
    let rest = &part[at + 1..];
    let value = if negated { rest } else { rest.strip_prefix('=').unwrap_or(rest) };
    let values = vec![value.trim().to_owned()];
    Some((key.trim().to_owned(), if negated { Test::NotIn(values) } else { Test::In(values) }))
}

fn label_requirement(part: &str) -> Result<Requirement, String> {
    let (key, test) = match (part.strip_prefix('!'), set(part), equality(part)) {
        (Some(key), _, _) => (key.trim().to_owned(), Test::Absent),
        (None, Some(found), _) => found,
        (None, None, Some(found)) => found,
        (None, None, None) => (part.to_owned(), Test::Exists),
    };
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'));
    match is_key {
        true => Ok(Requirement { key, test }),
        false => Err(format!("labelSelector: cannot read {part:?}; write key=value, key!=value, key in (a,b), key notin (a,b), key, or !key")),
    }
}

/// `key in (a, b)`, `key notin (a)`.
fn set(part: &str) -> Option<(String, Test)> {
    let (head, values) = part.strip_suffix(')')?.split_once('(')?;
    let (key, word) = head.trim().split_once(char::is_whitespace)?;
    let values = values.split(',').map(|value| value.trim().to_owned()).collect();
    match word.trim() {
        "in" => Some((key.to_owned(), Test::In(values))),
        "notin" => Some((key.to_owned(), Test::NotIn(values))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use taut_model::kinds::by_kind;

    fn object() -> Object {
        let value = json!({"metadata": {"name": "reviews", "namespace": "default", "labels": {"app": "reviews", "tier": "web"}}});
        Object { kind: by_kind("v1", "Service").expect("a kind"), namespace: "default".into(), name: "reviews".into(), value, places: None }
    }

    #[test]
    fn label_selectors_select() {
        for (selector, want) in [
            ("", true),
            ("app=reviews", true),
            ("app==reviews,tier=web", true),
            ("app=reviews,tier=data", false),
            ("app!=ratings", true),
            ("version!=v1", true),
            ("app in (ratings, reviews),tier", true),
            ("app notin (ratings,reviews)", false),
            ("version notin (v1)", true),
            ("!version", true),
            ("!app", false),
            ("version", false),
        ] {
            assert_eq!(Selector::labels(selector).expect(selector).accepts_labels_of(&object()), want, "{selector}");
        }
        for bad in ["app~x", "in (a)", "=x", "a b"] {
            assert!(Selector::labels(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn field_selectors_select() {
        for (selector, want) in [
            ("metadata.name=reviews", true),
            ("metadata.name=ratings", false),
            ("metadata.namespace==default,metadata.name!=ratings", true),
            ("metadata.namespace!=default", false),
        ] {
            assert_eq!(Selector::fields(selector).expect(selector).accepts_fields_of(&object()), want, "{selector}");
        }
        assert!(Selector::fields("metadata.name").is_err());
        assert_eq!(Selector::fields("spec.hosts=a").expect("readable").unselectable("VirtualService"), Some("spec.hosts"));
    }
}

//! Findings that users have looked at and do not want to hear of again: `--suppress CODE=RESOURCE`, and an annotation of the object.

use super::catalogue;
use taut_model::object::Object;
use taut_model::problem::Problem;

/// Codes, separated by commas, or `*`: on the object that they are about.
const ANNOTATION: &str = "tautline.dev/suppress";
/// Istio's own for the same.
const OF_ISTIO: &str = "galley.istio.io/analyze-suppress";

/// One `CODE=RESOURCE`: `TAUT0201=VirtualService default/reviews`; `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    code: String,
    resource: String,
}

impl std::str::FromStr for Suppression {
    type Err = String;

    /// Without a resource it is about all. Istio writes resources as `Kind name.namespace`, which is taken, too.
    fn from_str(text: &str) -> Result<Self, String> {
        let (code, resource) = text.split_once('=').unwrap_or((text, "*"));
        let (code, resource) = (code.trim(), resource.trim());
        if code != "*" && catalogue::find(code).is_none() {
            return Err(format!("{code:?} is no code of a finding; `taut analyze --explain all` lists them"));
        }
        if resource.is_empty() {
            return Err("name a resource, such as \"VirtualService default/reviews\", or *".to_owned());
        }
        Ok(Self { code: code.to_owned(), resource: resource.to_owned() })
    }
}

impl Suppression {
    pub fn covers(&self, problem: &Problem) -> bool {
        let Some(object) = &problem.object else { return self.resource == "*" && names(&self.code, problem) };
        let dotted = format!("{} {}.{}", object.kind, object.name, object.namespace);
        names(&self.code, problem) && (glob(&self.resource, &object.to_string()) || glob(&self.resource, &dotted))
    }
}

/// Whether the object itself says that it is meant so.
pub fn annotated(object: &Object, problem: &Problem) -> bool {
    let annotations = &object.value["metadata"]["annotations"];
    let written = [ANNOTATION, OF_ISTIO].into_iter().filter_map(|name| annotations[name].as_str());
    written.flat_map(|codes| codes.split(',')).any(|code| names(code.trim(), problem))
}

fn names(code: &str, problem: &Problem) -> bool {
    code == "*" || catalogue::find(problem.code).is_some_and(|entry| entry.answers_to(code))
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => {
            let Some(text) = text.strip_prefix(head) else { return false };
            (0..=text.len()).filter(|at| text.is_char_boundary(*at)).any(|at| glob(rest, &text[at..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_what_they_spell() {
        for (pattern, text, want) in [
            ("*", "", true),
            ("VirtualService default/*", "VirtualService default/reviews", true),
            ("VirtualService default/*", "VirtualService other/reviews", false),
            ("*/reviews", "VirtualService default/reviews", true),
            ("Virtual*/re*s", "VirtualService default/reviews", true),
            ("é*", "éa", true),
        ] {
            assert_eq!(glob(pattern, text), want, "{pattern} {text}");
        }
        assert!("TAUT0201=".parse::<Suppression>().is_err() && "NOSUCH=*".parse::<Suppression>().is_err());
        assert!("IST0130=VirtualService reviews.default".parse::<Suppression>().is_ok());
    }
}

//! Judgements as the XML that JUnit made common and that CI systems read (<https://github.com/testmoapp/junitxml>).

use std::collections::BTreeMap;
use taut_control::trial::Judgement;

pub fn report(judgements: &[Judgement]) -> String {
    let mut suites: BTreeMap<&str, Vec<&Judgement>> = BTreeMap::new();
    for judgement in judgements {
        suites.entry(&judgement.suite).or_default().push(judgement);
    }
    let mut text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {}>\n", counts(judgements.iter()));
    for (name, cases) in suites {
        text += &format!("  <testsuite name=\"{}\" {}>\n", escaped(name), counts(cases.iter().copied()));
        text.extend(cases.iter().map(|judgement| case(judgement)));
        text += "  </testsuite>\n";
    }
    text + "</testsuites>\n"
}

fn counts<'a>(judgements: impl Iterator<Item = &'a Judgement> + Clone) -> String {
    let failures = judgements.clone().filter(|judgement| !judgement.passed).count();
    format!("tests=\"{}\" failures=\"{failures}\" errors=\"0\"", judgements.count())
}

fn case(judgement: &Judgement) -> String {
    let place = judgement.location.as_ref();
    let place = place.map_or_else(String::new, |place| format!(" file=\"{}\" line=\"{}\"", escaped(&place.file), place.line));
    let head = format!("    <testcase classname=\"{}\" name=\"{}\"{place}", escaped(&judgement.suite), escaped(&judgement.name));
    if judgement.passed {
        return head + "/>\n";
    }
    let mut text = head + ">\n";
    for mismatch in &judgement.mismatches {
        let at = mismatch.location.as_ref().map_or_else(String::new, |location| format!("{location}: "));
        let because = mismatch.because.as_ref().map_or_else(String::new, |origin| format!("\nbecause {origin}"));
        let message = format!("expected {}; got {}", mismatch.expected, mismatch.got);
        text += &format!("      <failure message=\"{}\">{}</failure>\n", escaped(&message), escaped(&format!("{at}{message}{because}")));
    }
    text + "    </testcase>\n"
}

/// For texts and attributes alike. Control characters cannot be said in XML 1.0 at all.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '&' => safe += "&amp;",
            '"' => safe += "&quot;",
            '\n' | '\t' => safe.push(letter),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => safe.push('\u{fffd}'),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use taut_control::trial::Mismatch;
    use taut_model::origin::Location;

    #[test]
    fn texts_cannot_break_out_of_the_report() {
        let location = Some(Location { file: "a\"b.yaml".into(), line: 3, column: 1 });
        let mismatch = Mismatch { path: "x".into(), location: location.clone(), expected: "<v1>".into(), got: "\u{1}&".into(), because: None };
        let failed = Judgement {
            suite: "s".into(),
            name: "]]> </testcase>".into(),
            location,
            passed: false,
            mismatches: vec![mismatch],
            decided_by: vec![],
            explanation: String::new(),
        };
        let passed = Judgement { passed: true, name: "fine".into(), mismatches: vec![], ..failed.clone() };
        let text = report(&[failed, passed]);
        assert!(text.contains(r#"tests="2" failures="1""#), "{text}");
        assert!(text.contains(r#"name="]]&gt; &lt;/testcase&gt;" file="a&quot;b.yaml" line="3""#), "{text}");
        assert!(text.contains("expected &lt;v1&gt;; got \u{fffd}&amp;"), "{text}");
        assert_eq!(text.matches("</testcase>").count(), 1, "{text}");
    }
}

//! Scalars as Kubernetes' YAML reader takes them: YAML 1.2's core schema, and YAML 1.1's octal numbers (`defaultMode: 0644`).

use super::Content;
use saphyr_parser::Tag;
use serde_json::Number;

pub enum Unreadable {
    /// A tag that is not one of the core schema's scalar tags.
    Tag,
    /// Meant as a number, and none that JSON can hold. The message says why, without the value: it may be a secret.
    Number(&'static str),
}

/// `yes`, `no`, `on` and `off` stay text; where a boolean is expected, the schema check says what to write.
pub fn read(text: &str, plain: bool, tag: Option<&Tag>) -> Result<Content, Unreadable> {
    let Some(tag) = tag else {
        return if plain { read_plain(text) } else { Ok(Content::Text(text.to_owned())) };
    };
    if tag.handle.is_empty() && tag.suffix == "!" || tag.handle == "!" && tag.suffix.is_empty() {
        return Ok(Content::Text(text.to_owned()));
    }
    if !tag.is_yaml_core_schema() {
        return Err(Unreadable::Tag);
    }
    let content = read_plain(text)?;
    match (tag.suffix.as_str(), content) {
        ("str", _) => Ok(Content::Text(text.to_owned())),
        ("int" | "float", content @ Content::Number(_)) | ("bool", content @ Content::Bool(_)) | ("null", content @ Content::Null) => Ok(content),
        ("int" | "float", _) => Err(Unreadable::Number("this is tagged as a number and is none")),
        _ => Err(Unreadable::Tag),
    }
}

fn read_plain(text: &str) -> Result<Content, Unreadable> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Ok(Content::Null),
        "true" | "True" | "TRUE" => Ok(Content::Bool(true)),
        "false" | "False" | "FALSE" => Ok(Content::Bool(false)),
        _ => match text.strip_prefix(['+', '-']).unwrap_or(text).to_ascii_lowercase().as_str() {
            ".inf" | ".nan" => Err(Unreadable::Number("infinity and not-a-number cannot be held by JSON")),
            _ => number(text),
        },
    }
}

fn number(text: &str) -> Result<Content, Unreadable> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let in_radix = |digits: &str, radix| {
        let well_formed = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
        well_formed.then(|| i64::from_str_radix(digits, radix).ok()).flatten()
    };
    let radix = match (digits.get(..2), digits.len()) {
        (Some("0x"), _) => in_radix(&digits[2..], 16),
        (Some("0o"), _) => in_radix(&digits[2..], 8),
        (Some("0b"), _) => in_radix(&digits[2..], 2),
        (_, 2..) if digits.starts_with('0') => in_radix(digits, 8),
        _ => None,
    };
    if let Some(number) = radix {
        return Ok(Content::Number(Number::from(if negative { -number } else { number })));
    }
    if !is_decimal(digits) {
        return Ok(Content::Text(text.to_owned()));
    }
    decimal(text.strip_prefix('+').unwrap_or(text))
}

/// `[0-9]+(\.[0-9]*)?` or `\.[0-9]+`, with an optional exponent.
fn is_decimal(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (text, None),
    };
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    all_digits(whole)
        && all_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|exponent| !exponent.is_empty() && all_digits(exponent))
}

fn decimal(text: &str) -> Result<Content, Unreadable> {
    if let Ok(number) = text.parse::<i64>() {
        return Ok(Content::Number(Number::from(number)));
    }
    if let Ok(number) = text.parse::<u64>() {
        return Ok(Content::Number(Number::from(number)));
    }
    let too_large = || Unreadable::Number("this number is too large");
    let float: f64 = text.parse().map_err(|_| too_large())?;
    // JSON as Kubernetes writes it does not tell 1.0 from 1, so an integer field takes either.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if float.fract() == 0.0 && float.abs() < EXACT {
        return Ok(Content::Number(Number::from(float as i64)));
    }
    Number::from_f64(float).map(Content::Number).ok_or_else(too_large)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn plain_scalars_mean_what_kubernetes_takes_them_for() {
        for (text, want) in [
            ("", Value::Null),
            ("~", Value::Null),
            ("null", Value::Null),
            ("true", json!(true)),
            ("False", json!(false)),
            ("yes", json!("yes")),
            ("off", json!("off")),
            ("8080", json!(8080)),
            ("-1", json!(-1)),
            ("+1", json!(1)),
            ("0644", json!(420)),
            ("0o644", json!(420)),
            ("0x1F", json!(31)),
            ("0b11", json!(3)),
            ("089", json!(89)),
            ("0", json!(0)),
            ("1.0", json!(1)),
            ("0.5", json!(0.5)),
            (".5", json!(0.5)),
            ("1e3", json!(1000)),
            ("1_000", json!("1_000")),
            ("1.2.3", json!("1.2.3")),
            ("-", json!("-")),
            (".", json!(".")),
            ("e5", json!("e5")),
            ("0x", json!("0x")),
            ("0x-1", json!("0x-1")),
            ("18446744073709551615", json!(u64::MAX)),
            ("2026-11-21", json!("2026-11-21")),
            ("10.0.0.1", json!("10.0.0.1")),
            ("100m", json!("100m")),
        ] {
            let read = read_plain(text).unwrap_or_else(|_| panic!("{text} is readable"));
            let value = super::super::Node { place: Default::default(), content: read }.value();
            assert_eq!(value, want, "{text}");
        }
        for text in [".inf", "-.INF", ".nan", "1e999"] {
            assert!(matches!(read_plain(text), Err(Unreadable::Number(_))), "{text}");
        }
    }
}

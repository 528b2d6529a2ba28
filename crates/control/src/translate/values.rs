//! Texts that users write inside fields, checked and parsed: durations, header names and values, patterns, addresses.

use serde_json::Value;
use std::net::IpAddr;
use std::time::Duration;

/// The longest duration that is accepted; a protobuf duration's own bound (10,000 years).
const LONGEST_SECONDS: f64 = 315_576_000_000.0;
/// Of a header that the mesh is to set. Most servers take 8 to 16 KiB for all headers together.
const LONGEST_HEADER: usize = 16 * 1024;

/// Go's duration syntax, as Istio and Gateway API take it (`7s`, `1.5h`, `1h10m5s3ms`). Zero is a duration.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration: write a number and a unit, such as 7s, 250ms or 1h30m");
    let mut rest = text;
    let mut seconds = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let scale = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(wrong()),
        };
        seconds += number.parse::<f64>().map_err(|_| wrong())? * scale;
        rest = tail;
    }
    match !text.is_empty() && seconds <= LONGEST_SECONDS {
        // Whole nanoseconds, so that 0.3s is 300 ms and not one nanosecond less.
        true => Duration::try_from_secs_f64(seconds).map_err(|_| wrong()),
        false => Err(wrong()),
    }
}

/// A number of bytes as Kubernetes writes quantities: `1048576`, `"10Mi"`, `"500k"`. No fractions.
pub fn bytes(written: &Value) -> Result<u64, String> {
    let wrong = || format!("{written} is not a number of bytes: write one such as 1048576, \"10Mi\" or \"500k\"");
    let text = match written {
        Value::Number(number) => return number.as_u64().ok_or_else(wrong),
        Value::String(text) => text,
        _ => return Err(wrong()),
    };
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale: u64 = match unit {
        "" => 1,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale)).ok_or_else(wrong)
}

/// A header name in lower case.
pub fn header_name(text: &str) -> Result<String, String> {
    match http::HeaderName::from_bytes(text.as_bytes()) {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(_) => Err(format!("{text:?} is not a header name: letters, digits and -_ only")),
    }
}

/// A JSON Web Key Set with which signatures can be checked: public keys, and no shared secret among them.
pub fn key_set(text: &str) -> Result<(), String> {
    let set: serde_json::Value = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
    let keys = set["keys"].as_array().ok_or("is no JSON Web Key Set: it has no list \"keys\"")?;
    if keys.iter().any(|key| !key["d"].is_null()) {
        return Err("holds a private key: publish the public one, and replace this key".to_owned());
    }
    let usable = |key: &serde_json::Value| key["kty"].as_str().is_some_and(|kind| matches!(kind, "RSA" | "EC" | "OKP"));
    if keys.iter().any(usable) { Ok(()) } else { Err("has no key of the kinds RSA, EC and OKP; shared secrets are not taken".to_owned()) }
}

/// Where keys can be fetched: `https://host[:port]/path`, or `http`.
pub fn key_uri(text: &str) -> Result<http::Uri, String> {
    let wrong = || format!("{text:?} is not a URL of http or https");
    let uri: http::Uri = text.parse().map_err(|_| wrong())?;
    let named = uri.host().is_some_and(|host| !host.is_empty());
    if named && matches!(uri.scheme_str(), Some("http" | "https")) { Ok(uri) } else { Err(wrong()) }
}

/// RFC 9110 section 5.6.2: what names of methods and of headers are.
pub fn token(text: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    match !text.is_empty() && text.chars().all(allowed) {
        true => Ok(()),
        false => Err(format!("{text:?} is not a name: letters, digits and -_ only")),
    }
}

pub fn header_value(text: &str) -> Result<(), String> {
    match http::HeaderValue::from_str(text) {
        _ if text.len() > LONGEST_HEADER => Err(format!("is {} bytes long, and no server takes more than {LONGEST_HEADER}", text.len())),
        Ok(_) => Ok(()),
        Err(_) => Err("is not a header value: visible ASCII characters, spaces and tabs only".to_owned()),
    }
}

/// A cookie's name (RFC 6265 section 4.1.1: a token).
pub fn cookie_name(text: &str) -> Result<(), String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match !text.is_empty() && text.bytes().all(is_token) {
        true => Ok(()),
        false => Err(format!("{text:?} is not a cookie's name: letters, digits and some signs, no spaces, no = and ;")),
    }
}

/// The path or another attribute of a cookie: whatever does not end it.
pub fn cookie_text(text: &str) -> Result<(), String> {
    match text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b';') {
        true => Ok(()),
        false => Err(format!("{text:?} cannot stand in a cookie: visible ASCII characters without ;")),
    }
}

/// RE2 syntax; what `regex` does not take (look-around, back-references) RE2 does not take either.
pub fn pattern(text: &str) -> Result<(), String> {
    // As the plan builds it: alone first, so that it cannot break out of the group.
    let build = |pattern: &str| regex::RegexBuilder::new(pattern).size_limit(1 << 20).build();
    let built = build(text).and_then(|_| build(&format!("^(?:{text})$")));
    built.map(drop).map_err(|error| {
        let reason = error.to_string();
        let last = reason.lines().last().unwrap_or("it cannot be compiled").trim_start_matches("error: ").to_owned();
        format!("{text:?} is not a regular expression: {last}")
    })
}

/// An address or a CIDR block.
pub fn ip_block(text: &str) -> Result<(), String> {
    match text.parse::<ipnet::IpNet>().is_ok() || text.parse::<IpAddr>().is_ok() {
        true => Ok(()),
        false => Err(format!("{text:?} is neither an address nor a CIDR block such as 10.1.0.0/16")),
    }
}

pub fn port(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("{text:?} is not a port: a number from 1 to 65535")),
    }
}

/// The name in `known` that is nearest to what was written, if any is near.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(written, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len().min(written.len()) / 4)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_reads_them() {
        for (text, want) in [
            ("7s", 7_000_000_000),
            ("0s", 0),
            ("0.3s", 300_000_000),
            ("1.5h", 5_400_000_000_000),
            ("1h10m5s3ms", 4_205_003_000_000),
            ("25ms", 25_000_000),
            ("2µs", 2_000),
        ] {
            assert_eq!(duration(text).map(|d| d.as_nanos()), Ok(want), "{text}");
        }
        for bad in ["", "7", "s", "-1s", "1 s", "1.2.3s", "1d", "99999999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_read_as_kubernetes_reads_quantities() {
        use serde_json::json;
        for (written, want) in
            [(json!(5), 5), (json!("5"), 5), (json!("10Ki"), 10_240), (json!("2M"), 2_000_000), (json!("1Gi"), 1 << 30), (json!(0), 0)]
        {
            assert_eq!(bytes(&written), Ok(want), "{written}");
        }
        for bad in [json!(-1), json!(1.5), json!("1.5Mi"), json!("Mi"), json!("1 Mi"), json!("1mi"), json!(""), json!("99999999999Gi"), json!([])] {
            assert!(bytes(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_nearest_name_is_near_or_none() {
        assert_eq!(nearest("reviws", ["ratings", "reviews"]), Some("reviews"));
        assert_eq!(nearest("payments", ["ratings", "reviews"]), None);
    }
}

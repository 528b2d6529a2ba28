//! A request as people write one: `GET /reviews/1?x=y`, `jason` in a header.

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLine {
    pub method: String,
    /// Path and query.
    pub target: String,
}

/// `GET /path?query`, `/path`, or `POST /path HTTP/1.1`.
pub fn line(text: &str) -> Result<RequestLine, String> {
    let mut words = text.split_whitespace();
    let (method, target) = match (words.next(), words.next()) {
        (Some(target), None) if target.starts_with('/') => ("GET", target),
        (Some(method), Some(target)) if target.starts_with('/') => (method, target),
        _ => return Err("expected 'METHOD /path', e.g. 'GET /reviews/1'".to_owned()),
    };
    if method.parse::<http::Method>().is_err() {
        return Err(format!("{method:?} is not a method"));
    }
    Ok(RequestLine { method: method.to_owned(), target: target.to_owned() })
}

/// `name: value`
pub fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("expected 'name: value', e.g. 'end-user: jason'")?;
    let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
    if name.parse::<http::HeaderName>().is_err() || http::HeaderValue::from_str(value).is_err() {
        return Err(format!("{text:?} is not a header"));
    }
    Ok((name, value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines() {
        let get = |target: &str| Ok(RequestLine { method: "GET".into(), target: target.into() });
        assert_eq!(line("GET /reviews/1"), get("/reviews/1"));
        assert_eq!(line("/a?b=c"), get("/a?b=c"));
        assert_eq!(line("GET /a HTTP/1.1"), get("/a"));
        for bad in ["", "GET", "reviews", "G{T /x"] {
            assert!(line(bad).is_err(), "{bad}");
        }
        assert_eq!(header("End-User: jason"), Ok(("end-user".into(), "jason".into())));
        assert!(header("nothing").is_err());
    }
}

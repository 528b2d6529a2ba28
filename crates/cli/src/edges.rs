//! `taut edges`: who calls whom in a window of time, from the control plane's store of signals.

use crate::output::{self, Format};
use crate::place::Place;
use crate::{Failure, Outcome};
use serde_json::Value;

const EXAMPLES: &str = "Examples:
  taut edges                                      the last 30 seconds
  taut edges --service reviews --window 5m        who calls reviews, and which of its versions answers
  taut edges --sort p99 --limit 5                 the slowest five
  taut edges --at 2026-01-02T03:04:05Z            what it looked like then
  taut edges -o json | jq '.edges[] | select(.errorRate > 0)'";

#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    pub which: Which,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// How much time is looked at, when nobody says.
pub const WINDOW_SECONDS: u64 = 30;

/// Which edges, and in which order.
#[derive(clap::Args, Clone, Debug)]
pub struct Which {
    /// Only edges from, to or for a service of this namespace
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Only calls of this service: NAME, NAME.NAMESPACE or its host
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Only edges from or to this workload
    #[arg(long, value_name = "NAME")]
    pub workload: Option<String>,
    /// Whose reports: each request once, or all that the proxies at one or both ends saw
    #[arg(long, value_name = "once|source|destination|both", default_value = "once")]
    pub reporter: String,
    /// How much time, as in 30s or 5m [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub window: Option<String>,
    /// When the window ends: RFC 3339 or seconds since 1970 [default: now]
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    #[arg(long, value_enum, default_value_t = Sort::Rate)]
    pub sort: Sort,
    /// At most so many
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    #[default]
    Rate,
    Errors,
    P50,
    P99,
    Bytes,
    Connections,
    Name,
}

pub async fn edges(place: &Place, arguments: Arguments) -> Outcome {
    let answer = ask(place, &arguments.which).await?;
    match arguments.output {
        Format::Table => output::print(&render(&answer)),
        format => output::structured(format, &answer),
    }
}

/// The control plane's answer, in the order that was asked for.
pub async fn ask(place: &Place, which: &Which) -> Outcome<Value> {
    let path = format!("/taut/v1/signals/edges?{}", query(which));
    let mut answer = place.api()?.get(&path).await?.good()?;
    arrange(&mut answer, which, usize::MAX)?;
    Ok(answer)
}

/// Puts an answer's edges into the order that was asked for, and leaves out what is beyond the limit, or `most` without one.
pub fn arrange(answer: &mut Value, which: &Which, most: usize) -> Outcome {
    let edges =
        answer["edges"].as_array_mut().ok_or_else(|| Failure::cannot("the control plane's answer has no edges; is it of another version?"))?;
    order(edges, which.sort);
    edges.truncate(which.limit.unwrap_or(most));
    Ok(())
}

/// Puts an answer's edges into another order.
pub fn sort(answer: &mut Value, by: Sort, reversed: bool) {
    let Some(edges) = answer["edges"].as_array_mut() else { return };
    order(edges, by);
    if reversed {
        edges.reverse();
    }
}

/// Leaves only the edges of an answer with a text in one of their names.
pub fn keep(answer: &mut Value, part: &str) {
    let part = part.to_lowercase();
    if let Some(edges) = answer["edges"].as_array_mut().filter(|_| !part.is_empty()) {
        edges.retain(|edge| names(edge).iter().any(|name| name.to_lowercase().contains(&part)));
    }
}

fn query(which: &Which) -> String {
    let named = [("namespace", &which.namespace), ("service", &which.service), ("workload", &which.workload), ("at", &which.at)];
    let named = named.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    let default = format!("{WINDOW_SECONDS}s");
    parameters(named.chain([("reporter", which.reporter.as_str()), ("window", which.window.as_deref().unwrap_or(&default))]))
}

/// As the query of a URL.
pub fn parameters<'a>(pairs: impl Iterator<Item = (&'static str, &'a str)>) -> String {
    pairs.map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
}

/// RFC 3986, section 2.3: all but unreserved characters as `%XX`.
fn encoded(text: &str) -> String {
    let kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if kept(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}

fn order(edges: &mut [Value], sort: Sort) {
    let key = |edge: &Value| match sort {
        Sort::Rate => number(&edge["rate"]),
        Sort::Errors => number(&edge["errorRate"]) * number(&edge["requests"]).max(1.0),
        Sort::P50 => number(&edge["latencyMs"]["p50"]),
        Sort::P99 => number(&edge["latencyMs"]["p99"]),
        Sort::Bytes => number(&edge["requestBytes"]) + number(&edge["responseBytes"]),
        Sort::Connections => number(&edge["connections"]),
        Sort::Name => 0.0,
    };
    // The highest first; of equals by name.
    edges.sort_by(|a, b| key(b).total_cmp(&key(a)).then_with(|| names(a).cmp(&names(b))));
}

fn names(edge: &Value) -> [String; 3] {
    [party(&edge["source"]), service(&edge["service"]), party(&edge["destination"])]
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `namespace/workload`, or `-` for nobody.
fn party(party: &Value) -> String {
    match (text(&party["namespace"]), text(&party["workload"])) {
        (_, "unknown" | "") => "-".to_owned(),
        ("unknown" | "", workload) => workload.to_owned(),
        (namespace, workload) => format!("{namespace}/{workload}"),
    }
}

fn service(service: &Value) -> String {
    match (text(&service["name"]), text(&service["namespace"])) {
        (name, "unknown" | "other" | "") => name.to_owned(),
        (name, namespace) => format!("{name}.{namespace}"),
    }
}

/// Milliseconds as people read them.
fn millis(value: &Value) -> String {
    match value.as_f64() {
        None => "-".to_owned(),
        Some(ms) if ms < 10.0 => format!("{ms:.1}ms"),
        Some(ms) if ms < 10_000.0 => format!("{ms:.0}ms"),
        Some(ms) => format!("{:.1}s", ms / 1000.0),
    }
}

/// As people read it.
pub fn bytes(count: f64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut unit = 0;
    let mut count = count;
    while count >= 1000.0 && unit + 1 < UNITS.len() {
        count /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count:.0}{}", UNITS[0]) } else { format!("{count:.1}{}", UNITS[unit]) }
}

/// A table, and above it what is missing.
pub fn render(answer: &Value) -> String {
    let edges = answer["edges"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut out = String::new();
    for gap in answer["gaps"].as_array().map(Vec::as_slice).unwrap_or_default() {
        out += &format!("! incomplete: {}\n", text(&gap["why"]));
    }
    if edges.is_empty() {
        return out + "No traffic in this window. Send some through a sidecar: taut run --service me -- curl http://reviews:9080/\n";
    }
    let length = number(&answer["windowSeconds"]).max(1.0);
    let headers = ["source", "service", "destination", "protocol", "rps", "errors", "p50", "p99", "bytes/s", "open", "security"];
    let row = |edge: &Value| {
        let [source, service, destination] = names(edge);
        let open = number(&edge["connections"]).max(number(&edge["inFlight"]));
        let security = match text(&edge["security"]) {
            "mutual_tls" => "mTLS",
            "plaintext" => "plaintext",
            _ => "-",
        };
        vec![
            source,
            service,
            destination,
            text(&edge["protocol"]).to_owned(),
            format!("{:.1}", number(&edge["rate"])),
            errors(edge),
            millis(&edge["latencyMs"]["p50"]),
            millis(&edge["latencyMs"]["p99"]),
            bytes((number(&edge["requestBytes"]) + number(&edge["responseBytes"])) / length),
            format!("{open:.0}"),
            security.to_owned(),
        ]
    };
    out + &output::table(&headers, edges.iter().map(row))
}

/// The share of errors, and the reason that most of them have.
fn errors(edge: &Value) -> String {
    let share = 100.0 * number(&edge["errorRate"]);
    let reasons = edge["failures"].as_object().into_iter().flatten();
    match reasons.max_by(|(_, a), (_, b)| number(a).total_cmp(&number(b))) {
        Some((reason, _)) if share > 0.0 => format!("{share:.1}% {reason}"),
        _ => "0%".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn edge(service: &str, rate: f64, p99: f64) -> Value {
        json!({
            "source": {"namespace": "shop", "workload": "web"}, "service": {"name": service, "namespace": "shop"},
            "destination": {"namespace": "unknown", "workload": "unknown"}, "protocol": "http", "rate": rate, "requests": 30.0 * rate,
            "errorRate": 0.25, "failures": {"timeout": 1, "http_5xx": 4}, "latencyMs": {"p50": 1.25, "p99": p99}, "requestBytes": 3_000_000,
            "responseBytes": 0, "connections": 0, "inFlight": 2, "security": "mutual_tls",
        })
    }

    #[test]
    fn edges_are_shown_in_the_order_asked_for_and_what_is_missing_comes_first() {
        let mut edges = vec![edge("a", 1.0, 30.0), edge("b", 5.0, 20_000.0), edge("c", 5.0, 12.0)];
        order(&mut edges, Sort::Rate);
        assert_eq!(edges.iter().map(|edge| text(&edge["service"]["name"])).collect::<String>(), "bca");
        order(&mut edges, Sort::P99);
        assert_eq!(edges.iter().map(|edge| text(&edge["service"]["name"])).collect::<String>(), "bac");
        let shown = render(&json!({"windowSeconds": 30, "edges": edges, "gaps": [{"why": "x was away"}]}));
        assert!(shown.starts_with("! incomplete: x was away\nSOURCE"), "{shown}");
        let row: Vec<&str> = shown.lines().nth(2).unwrap().split_whitespace().collect();
        assert_eq!(row, ["shop/web", "b.shop", "-", "http", "5.0", "25.0%", "http_5xx", "1.2ms", "20.0s", "100.0kB", "2", "mTLS"]);
        assert!(render(&json!({"edges": []})).starts_with("No traffic"));
    }

    #[test]
    fn what_is_asked_for_survives_the_url() {
        assert_eq!(parameters([("service", "a b&c"), ("at", "2026-01-01T00:00:00Z")].into_iter()), "service=a%20b%26c&at=2026-01-01T00%3A00%3A00Z");
    }
}

//! `taut tap`: requests of the whole mesh as they happen.

use crate::edges::parameters;
use crate::output::{self, Format};
use crate::place::Place;
use crate::{Failure, Outcome};
use serde_json::Value;
use std::ops::ControlFlow;

const EXAMPLES: &str = "Examples:
  taut tap                                        some of all requests
  taut tap --destination reviews --status 5xx     what fails there
  taut tap --source default/productpage-v1 --path /reviews --method GET
  taut tap --header x-user=jason                  what one user does; needs no route that looks at it
  taut tap --count 10 -o json                     ten records, one per line, for programs";

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// WORKLOAD, NAMESPACE/WORKLOAD, or NAMESPACE/ for all of it
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    source: String,
    /// The same, or a service
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    destination: String,
    #[arg(long, default_value = "", hide_default_value = true)]
    method: String,
    /// What the path begins with
    #[arg(long, default_value = "", hide_default_value = true)]
    path: String,
    /// A status such as 503, or a class such as 5xx
    #[arg(long, default_value = "", hide_default_value = true)]
    status: String,
    /// A header that the request must have, NAME=VALUE, or NAME for any value; may be given again. Never one that may hold a secret
    #[arg(long, value_name = "NAME[=VALUE]")]
    header: Vec<String>,
    /// A header to show with each request; may be given again
    #[arg(long, value_name = "NAME")]
    show_header: Vec<String>,
    /// Records per second at most, evenly of those that fit
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    rate: u32,
    /// End after so many
    #[arg(long, value_name = "COUNT")]
    count: Option<u64>,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub async fn tap(place: &Place, arguments: Arguments) -> Outcome {
    if arguments.output == Format::Yaml {
        return Err(Failure::cannot("records come one per line; use -o json"));
    }
    let rate = arguments.rate.to_string();
    let (header, show) = (arguments.header.join("\n"), arguments.show_header.join("\n"));
    let wanted = [
        ("source", arguments.source.as_str()),
        ("destination", &arguments.destination),
        ("method", &arguments.method),
        ("path", &arguments.path),
        ("status", &arguments.status),
        ("header", &header),
        ("show", &show),
        ("rate", &rate),
    ];
    let path = format!("/taut/v1/tap?{}", parameters(wanted.into_iter().filter(|(_, value)| !value.is_empty())));
    let mut left = arguments.count.unwrap_or(u64::MAX);
    let hear = |event: &str, told: &Value| {
        match event {
            "record" => {
                let line = if arguments.output == Format::Json { told.to_string() } else { line(told) };
                output::print(&(line + "\n"))?;
                left = left.saturating_sub(1);
            }
            "leftOut" => output::say(&format!("… {} more that fit were left out; ask for less, or for a higher --rate", told["leftOut"])),
            "refused" => {
                output::say(&format!("{} tells nothing: {}", told["proxy"].as_str().unwrap_or_default(), told["why"].as_str().unwrap_or_default()))
            }
            _ => {}
        }
        Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    place.api()?.events(&path, hear).await
}

/// `GET reviews:9080/reviews/1 200 3.1ms  default/productpage-v1 -> default/reviews-v2  id`
fn line(told: &Value) -> String {
    let record = &told["record"];
    let (edge, text) = (&record["edge"], |value: &Value| value.as_str().unwrap_or_default().to_owned());
    let party = |party: &Value| match text(&party["workload"]).as_str() {
        "unknown" | "" => "-".to_owned(),
        workload => format!("{}/{workload}", text(&party["namespace"])),
    };
    let took = record["duration_us"].as_f64().unwrap_or_default() / 1000.0;
    let between = format!("{} -> {}", party(&edge["source"]), party(&edge["destination"]));
    let failure = match &record["failure"]["reason"] {
        Value::String(reason) => format!(" {reason}"),
        _ => String::new(),
    };
    match &record["method"] {
        Value::String(method) => {
            let (authority, path, id) = (text(&record["authority"]), text(&record["path"]), text(&record["request_id"]));
            let headers: String =
                record["headers"].as_object().into_iter().flatten().map(|(name, value)| format!("  {name}={}", text(value))).collect();
            format!("{method} {authority}{path} {}{failure} {took:.1}ms  {between}  {} {id}{headers}", record["status"], text(&edge["reporter"]))
        }
        _ => {
            let (received, sent, id) = (&record["received_bytes"], &record["sent_bytes"], text(&record["connection_id"]));
            format!("TCP {} {received}+{sent} bytes{failure} {took:.1}ms  {between}  {} {id}", text(&edge["service_host"]), text(&edge["reporter"]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_request_and_a_connection_are_a_line_each() {
        let edge = json!({"source": {"namespace": "shop", "workload": "web"}, "destination": {"workload": "unknown"}, "reporter": "source", "service_host": "db.shop"});
        let exchange = json!({"edge": edge, "method": "GET", "authority": "cart", "path": "/1", "status": 503, "failure": {"reason": "no_endpoint"}, "duration_us": 1500, "request_id": "r-1"});
        assert_eq!(line(&json!({"record": exchange})), "GET cart/1 503 no_endpoint 1.5ms  shop/web -> -  source r-1");
        let connection = json!({"edge": edge, "received_bytes": 3, "sent_bytes": 4, "duration_us": 2000, "connection_id": "c-1", "failure": null});
        assert_eq!(line(&json!({"record": connection})), "TCP db.shop 3+4 bytes 2.0ms  shop/web -> -  source c-1");
    }
}

//! `taut status`: what is wrong now, first; then who is connected and what is live.

mod sidecars;

use crate::Outcome;
use crate::output::{self, Format};
use crate::place::Place;
use crate::plaintext;
use serde_json::Value;
use std::net::SocketAddr;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut status
  taut status -o json | jq '.problems[].text'
  taut status --sidecar 127.0.10.4:15000      what that sidecar says of itself; needs no control plane")]
pub struct Arguments {
    /// Ask this sidecar's admin listener instead of the control plane; may be given again
    #[arg(long, value_name = "IP:PORT")]
    sidecar: Vec<SocketAddr>,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub async fn status(place: &Place, arguments: Arguments) -> Outcome {
    if !arguments.sidecar.is_empty() {
        return sidecars::status(&arguments.sidecar, arguments.output).await;
    }
    let api = place.api()?;
    let mut status = api.get("/taut/v1/status").await?.good()?;
    if let Some(report) = plaintext::lately(&api).await? {
        status["plaintext"] = report["plaintext"].clone();
    }
    match arguments.output {
        Format::Table => output::print(&render(&status)),
        format => output::structured(format, &status),
    }
}

/// Objects that are accepted and not yet live everywhere.
pub fn lagging(status: &Value) -> Vec<&Value> {
    let resources = status["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
    resources.iter().filter(|r| r["live"]["accepted"] == true && r["live"]["live"] == false).collect()
}

fn render(status: &Value) -> String {
    let list = |key: &str| status[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| value.as_str().map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned);
    let name = |r: &Value| format!("{} {}/{}", text(&r["kind"]), text(&r["namespace"]), text(&r["name"]));
    let (resources, problems, proxies, late) = (list("resources"), list("problems"), list("proxies"), lagging(status));
    let mut out = String::new();
    for incident in list("incidents") {
        out += &format!("✗ {}: `taut incidents {}` says more\n", text(&incident["title"]), text(&incident["id"]));
    }
    for problem in problems {
        let mark = match problem["severity"].as_str() {
            Some("error") => '✗',
            Some("warning") => '!',
            _ => continue,
        };
        out += &format!("{mark} {}\n", text(&problem["text"]));
    }
    for resource in &late {
        out += &format!("… {} is not live: {}\n", name(resource), text(&resource["live"]["message"]));
    }
    for proxy in proxies.iter().filter(|p| p["readiness"] != "Ready") {
        let mark = if proxy["readiness"] == "Announcing" { '…' } else { '✗' };
        out += &format!("{mark} {} is {}\n", text(&proxy["uid"]), text(&proxy["readiness"]));
    }
    for uid in list("away") {
        out += &format!("✗ {} does not answer: its sidecar is gone or cannot reach the control plane\n", text(uid));
    }
    for host in list("starved") {
        out += &format!("✗ {} is in use and no workload serves it: requests are answered with 503\n", text(host));
    }
    if out.is_empty() {
        out += "✓ nothing is wrong\n";
    }
    let live = resources.iter().filter(|r| r["live"]["live"] == true).count();
    out += &format!(
        "\n{live} of {} objects are live in {} proxies; control plane {}\n\n",
        resources.len(),
        proxies.len(),
        text(&status["controlPlaneVersion"])
    );
    let lines = plaintext::lines(status);
    if !lines.is_empty() {
        out += "plain text in the last hour (`taut trust strict --dry-run` says what would break without):\n";
        out += &lines.iter().map(|line| format!("  {line}\n")).collect::<String>();
        out += "\n";
    }
    if proxies.is_empty() {
        return out + "No proxies are connected. Start one: taut run --service hello --port 8080 -- ./hello\n";
    }
    let keys = ["uid", "readiness", "serviceAccount", "peer", "plan", "resources", "lagging", "proxyVersion"];
    let headers = ["proxy", "state", "account", "peer", "plan", "resources", "lagging", "version"];
    out + &output::table(&headers, proxies.iter().map(|p| keys.map(|key| text(&p[key])).to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn trouble_comes_first() {
        let shown = render(&json!({
            "problems": [{ "severity": "error", "text": "mesh.yaml:3:5: error[UnknownField]: x" }, { "severity": "info", "text": "quiet" }],
            "resources": [{ "kind": "VirtualService", "namespace": "default", "name": "reviews", "live": { "accepted": true, "live": false, "message": "1/2, 1 lagging: b" } }],
            "proxies": [{ "uid": "default/reviews-v1", "readiness": "NotReady", "peer": "p" }] }));
        let incident = render(&json!({"incidents": [{"id": "cart-1", "title": "shop/cart is slow"}]}));
        assert!(incident.starts_with("✗ shop/cart is slow: `taut incidents cart-1` says more\n"), "{incident}");
        let expected = "✗ mesh.yaml:3:5: error[UnknownField]: x\n… VirtualService default/reviews is not live: 1/2, 1 lagging: b\n✗ default/reviews-v1 is NotReady\n";
        assert!(shown.starts_with(expected), "{shown}");
        assert!(render(&json!({})).starts_with("✓ nothing is wrong"));
        let plain = json!([{"from": null, "to": "default/page-v1", "service": "page", "carried": 3, "last": "now"}]);
        let shown = render(&json!({ "plaintext": plain }));
        assert!(shown.contains("\n  (no proxy) -> default/page-v1 (page): 3 requests or connections, the last at now\n"), "{shown}");
    }
}

//! `taut status`: what is wrong now, first; then who is connected and what is live.

use crate::Outcome;
use crate::output::{self, Format};
use crate::place::Place;
use serde_json::Value;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub async fn status(place: &Place, arguments: Arguments) -> Outcome {
    let api = place.api()?;
    let status = api.get("/taut/v1/status").await?.good()?;
    match arguments.output {
        Format::Table => output::print(&render(&status)),
        format => output::structured(format, &status),
    }
}

fn render(status: &Value) -> String {
    let list = |key: &str| status[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value, key: &str| {
        value[key].as_str().map_or_else(|| if value[key].is_null() { String::new() } else { value[key].to_string() }, str::to_owned)
    };
    let mut out = String::new();
    let (problems, lagging, proxies) = (list("problems"), list("lagging"), list("proxies"));
    for problem in problems {
        out += &format!("✗ {}: {}\n", text(problem, "object"), text(problem, "message"));
    }
    for object in lagging {
        out += &format!("… {}: {}\n", text(object, "object"), text(object, "message"));
    }
    for proxy in proxies.iter().filter(|p| p["state"] != "Ready") {
        out += &format!("✗ {} is {}: {}\n", text(proxy, "uid"), text(proxy, "state"), text(proxy, "why"));
    }
    if out.is_empty() {
        out += "✓ nothing is wrong\n";
    }
    out +=
        &format!("\n{} objects live, {} lagging, {} with problems; version {}\n\n", status["live"], lagging.len(), problems.len(), status["version"]);
    if proxies.is_empty() {
        return out + "No proxies are connected. Start one: taut run --service hello --port 8080 -- ./hello\n";
    }
    out + &output::table(
        &["proxy", "state", "identity", "peer", "live", "version"],
        proxies.iter().map(|p| ["uid", "state", "identity", "peer", "live", "proxyVersion"].map(|key| text(p, key)).to_vec()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn trouble_comes_first() {
        let shown = render(&json!({
            "version": 7, "live": 3, "problems": [{ "object": "VirtualService default/reviews", "message": "spec.http[0]: x" }], "lagging": [],
            "proxies": [{ "uid": "default/reviews-v1", "state": "NotReady", "why": "disconnected", "identity": "i", "peer": "p", "live": "3/3", "proxyVersion": "0.1.0" }] }));
        assert!(shown.starts_with("✗ VirtualService default/reviews: spec.http[0]: x\n✗ default/reviews-v1 is NotReady: disconnected\n"), "{shown}");
        assert!(render(&json!({ "version": 1, "live": 0 })).starts_with("✓ nothing is wrong"));
    }
}

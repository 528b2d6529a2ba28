//! `taut audit`: who did what to the mesh's trust and configuration, and whether the log of it was touched.

use crate::output::{self, Format};
use crate::place::Place;
use crate::{Failure, Outcome};
use serde_json::Value;

#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  taut audit                                 the newest entries
  taut audit --what certificate.refused      who asked for a certificate and did not get it, and why
  taut audit verify                          whether the log is as it was written; exits with 1 and names the first entry that is not
  taut audit verify --expect HASH            and whether it still holds the entry of this hash, which you kept elsewhere"
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only entries whose kind begins so: certificate, token, trust, configuration
    #[arg(long, value_name = "KIND", default_value = "", hide_default_value = true)]
    what: String,
    /// How many to list
    #[arg(long, value_name = "COUNT", default_value_t = 30)]
    limit: usize,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Check that every entry follows from the one before, up to the newest that was written
    Verify(Verify),
}

#[derive(clap::Args, Debug)]
struct Verify {
    /// The hash of an entry, as an earlier `taut audit verify` said it
    #[arg(long, value_name = "HASH")]
    expect: Option<String>,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

const AUDIT: &str = "/taut/v1/audit";
/// The most that the control plane gives at once.
const ALL: usize = 5000;

pub async fn audit(place: &Place, arguments: Arguments) -> Outcome {
    let api = place.api()?;
    let entries = async |limit: usize, what: &str| api.get(&format!("{AUDIT}?limit={limit}&what={}", crate::get::escape(what))).await?.good();
    let Some(Command::Verify(verify)) = arguments.command else {
        let answer = entries(arguments.limit, &arguments.what).await?;
        return match arguments.output {
            Format::Table => output::print(&list(&answer)),
            format => output::structured(format, &answer),
        };
    };
    let mut verified = api.get(&format!("{AUDIT}/verify")).await?.good()?["verified"].take();
    if let Some(hash) = &verify.expect {
        let answer = entries(ALL, "").await?;
        let held = rows(&answer).iter().any(|entry| entry["hash"] == hash.as_str());
        verified["expected"] = held.into();
    }
    match verify.output {
        Format::Table => output::print(&judged(&verified))?,
        format => output::structured(format, &verified)?,
    }
    match (verified["broken"].is_null(), verified["expected"] == false) {
        (false, _) => Err(Failure::no("the audit log is not as it was written")),
        (true, true) => Err(Failure::no("no entry of the newest 5000 has the expected hash: the log was written anew, or has gone on since")),
        (true, false) => Ok(()),
    }
}

fn rows(answer: &Value) -> &[Value] {
    answer["entries"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned)
}

/// `certificate.issued` with what matters most of it, on one line.
fn list(answer: &Value) -> String {
    let row = |entry: &Value| {
        let details = entry["details"].as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        let details: Vec<String> = details.map(|(key, value)| format!("{key}={}", text(value))).collect();
        let mut shown = details.join(" ");
        if shown.chars().count() > 120 {
            shown = shown.chars().take(119).chain(['…']).collect();
        }
        vec![text(&entry["number"]), text(&entry["at"]), text(&entry["who"]), text(&entry["what"]), shown]
    };
    output::table(&["number", "at", "who", "what", "details"], rows(answer).iter().map(row))
}

fn judged(verified: &Value) -> String {
    let broken = &verified["broken"];
    if !broken.is_null() {
        return format!("✗ entry {}: {}\n{} entries before it hold\n", text(&broken["number"]), text(&broken["why"]), text(&verified["entries"]));
    }
    match verified["entries"].as_u64() {
        None | Some(0) => "✓ nothing was written yet\n".to_owned(),
        Some(count) => {
            format!("✓ {count} entries hold, {} to {}\nhash {}\n", text(&verified["first"]), text(&verified["last"]), text(&verified["hash"]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_break_is_named() {
        let broken = json!({"entries": 2, "broken": {"number": 3, "why": "it is not as it was written"}});
        assert_eq!(judged(&broken), "✗ entry 3: it is not as it was written\n2 entries before it hold\n");
        let whole = json!({"entries": 2, "first": 1, "last": 2, "hash": "ab", "broken": null});
        assert_eq!(judged(&whole), "✓ 2 entries hold, 1 to 2\nhash ab\n");
        let entries = json!({"entries": [{"number": 1, "at": "now", "who": "anna", "what": "token.made", "details": {"id": "x", "none": null}}]});
        let squeezed = list(&entries).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(squeezed.ends_with("1 now anna token.made id=x"), "{squeezed}");
    }
}

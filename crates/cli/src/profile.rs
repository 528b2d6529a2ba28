//! `taut profile`: where the CPU time or the memory of a proxy, or of the control plane, goes.

use crate::edges::{bytes, parameters};
use crate::output;
use crate::place::Place;
use crate::{Failure, Outcome};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::io::IsTerminal;
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  taut profile default/reviews-v1                              the hottest functions of ten seconds
  taut profile control-plane --seconds 5
  taut profile reviews-v1 -o reviews.pb.gz && go tool pprof -http=: reviews.pb.gz
  taut profile reviews-v1 --heap

A stack is noted 99 times per second of CPU time that the process spends; an idle one is not woken. It needs the role operator.";

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// NAMESPACE/NAME of a workload, its name alone, or control-plane
    proxy: String,
    /// How long to sample
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=i64::from(LONGEST)))]
    seconds: u32,
    /// Write pprof's format (profile.proto, gzip) into a file
    #[arg(short, long, value_name = "FILE", conflicts_with = "heap")]
    output: Option<PathBuf>,
    /// Show the hottest functions, also when a file is written
    #[arg(long)]
    text: bool,
    /// What the allocator says of its memory
    #[arg(long, conflicts_with = "text")]
    heap: bool,
}

const LONGEST: u32 = taut_observe::profile::LONGEST_SECONDS;

pub async fn profile(place: &Place, arguments: Arguments) -> Outcome {
    let seconds = arguments.seconds.to_string();
    let heap = arguments.heap.to_string();
    let path = format!("/taut/v1/profile?{}", parameters([("proxy", arguments.proxy.as_str()), ("seconds", &seconds), ("heap", &heap)].into_iter()));
    if !arguments.heap && std::io::stderr().is_terminal() {
        output::say(&format!("sampling {} for {seconds} s …", arguments.proxy));
    }
    let answer = place.api()?.get(&path).await?.good()?;
    if arguments.heap {
        return output::print(&memory(&answer["heap"]));
    }
    let malformed = || Failure::cannot("the control plane's answer is no profile; is it of another version?");
    if let Some(file) = &arguments.output {
        let pprof = answer["pprof"].as_str().and_then(|text| STANDARD.decode(text).ok()).ok_or_else(malformed)?;
        std::fs::write(file, &pprof).map_err(|error| Failure::cannot(format!("{} cannot be written: {error}", file.display())))?;
        output::say(&format!("{}: {}; look at it with `go tool pprof`, or any viewer of that format", file.display(), bytes(pprof.len() as f64)));
    }
    if arguments.text || arguments.output.is_none() {
        output::print(answer["text"].as_str().ok_or_else(malformed)?)?;
    }
    Ok(())
}

fn memory(heap: &Value) -> String {
    let row = |name: &str, now: &str, peak: &str| {
        let shown = |field: &str| heap[field].as_f64().map_or_else(|| "-".to_owned(), bytes);
        vec![name.to_owned(), shown(now), shown(peak)]
    };
    let rows = [row("resident", "resident", "peakResident"), row("committed", "committed", "peakCommitted")];
    output::table(&["memory", "now", "peak"], rows) + &format!("page faults: {}\n", heap["pageFaults"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn memory_is_shown_as_people_read_it() {
        let heap = json!({"resident": 2_000_000, "peakResident": 3_500_000, "committed": 4_000_000, "peakCommitted": 5, "pageFaults": 7});
        let shown = memory(&heap);
        let rows: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            rows,
            [vec!["MEMORY", "NOW", "PEAK"], vec!["resident", "2.0MB", "3.5MB"], vec!["committed", "4.0MB", "5B"], vec!["page", "faults:", "7"]]
        );
    }
}

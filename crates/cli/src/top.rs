//! `taut top`: the edges of the mesh, again and again, the most interesting first.

use crate::edges::{self, Which};
use crate::output::{self, Format};
use crate::place::Place;
use crate::run::stop_signal;
use crate::wait::duration;
use crate::{Failure, Outcome};
use std::io::IsTerminal;
use std::time::Duration;

const EXAMPLES: &str = "Examples:
  taut top                             the busiest edges, every two seconds
  taut top --sort errors               the most troubled first
  taut top --service reviews --every 1s --window 5s
  taut top --once --sort p99 --limit 3
  taut top --once -o json";

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    which: Which,
    /// How often to look
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    every: Duration,
    /// Look once and end; what is not a terminal gets no more either
    #[arg(long)]
    once: bool,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub async fn top(place: &Place, arguments: Arguments) -> Outcome {
    if arguments.output != Format::Table {
        return output::structured(arguments.output, &edges::ask(place, &arguments.which).await?);
    }
    if arguments.once || !std::io::stdout().is_terminal() {
        return output::print(&edges::render(&edges::ask(place, &arguments.which).await?));
    }
    let looking = async {
        loop {
            let answer = edges::ask(place, &arguments.which).await?;
            // Clears the terminal from the top left corner on (ECMA-48).
            output::print(&format!("\u{1b}[H\u{1b}[2J{}\n\n{}", answer["at"].as_str().unwrap_or_default(), edges::render(&answer)))?;
            tokio::time::sleep(arguments.every.max(Duration::from_millis(200))).await;
        }
    };
    let looked: Result<(), Failure> = tokio::select! {
        biased;
        () = stop_signal() => Ok(()),
        looked = looking => looked,
    };
    looked
}

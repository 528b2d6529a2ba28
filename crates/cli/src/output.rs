//! What people see: tables, JSON and YAML for programs, colours only on a terminal.

use crate::{Failure, Outcome};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use std::io::{IsTerminal, Write};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Table,
    Json,
    Yaml,
}

/// Whether to colour what goes to `stream` (<https://no-color.org>).
pub fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

pub fn error(message: &str) {
    match colours(&std::io::stderr()) {
        true => say(&format!("\u{1b}[31merror:\u{1b}[0m {message}")),
        false => say(&format!("error: {message}")),
    }
}

/// A line on standard error. Nobody listening is no failure.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A line on standard output, likewise.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Rows under headers, aligned, without lines: what `kubectl get` looks like.
pub fn table(headers: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headers.iter().map(|h| h.to_ascii_uppercase()));
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Writes a value for programs; `Table` is the caller's own business.
pub fn structured(format: Format, value: &impl Serialize) -> Outcome {
    let text = match format {
        Format::Yaml => serde_saphyr::to_string(value).map_err(|e| Failure::cannot(e.to_string()))?,
        Format::Json | Format::Table => serde_json::to_string_pretty(value).map_err(|e| Failure::cannot(e.to_string()))? + "\n",
    };
    print(&text)
}

/// Writes to standard output. A reader that hung up (`| head`) is no failure.
pub fn print(text: &str) -> Outcome {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::cannot(format!("cannot write: {error}"))),
        _ => Ok(()),
    }
}

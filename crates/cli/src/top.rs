//! `taut top`: the edges of the mesh, again and again, the most interesting first.

use crate::duration::duration;
use crate::edges::{self, Sort, Which};
use crate::output::{self, Format};
use crate::place::Place;
use crate::run::stop_signal;
use crate::terminal::{self, Key, Keys};
use crate::{Failure, Outcome};
use serde_json::Value;
use std::io::IsTerminal;
use std::time::Duration;
use tokio::time::Instant;

const EXAMPLES: &str = "Examples:
  taut top                             the busiest edges, every two seconds
  taut top --sort errors               the most troubled first
  taut top --service reviews --every 1s --window 5s
  taut top --once --sort p99 --limit 3
  taut top --once -o json

Keys: r e 5 9 b c n  sort by rate, errors, p50, p99, bytes, connections, name; i  the other way round;
      /  show only edges with this text in a name (Enter keeps it, Escape shows all again); space  pause; q  quit";

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

const LEAST_PAUSE: Duration = Duration::from_millis(200);

pub async fn top(place: &Place, arguments: Arguments) -> Outcome {
    if arguments.output != Format::Table {
        return output::structured(arguments.output, &edges::ask(place, &arguments.which).await?);
    }
    if arguments.once || !std::io::stdout().is_terminal() {
        return output::print(&edges::render(&edges::ask(place, &arguments.which).await?));
    }
    let looked: Result<(), Failure> = tokio::select! {
        biased;
        () = stop_signal() => Ok(()),
        looked = look(place, &arguments) => looked,
    };
    looked
}

/// Until somebody quits.
async fn look(place: &Place, arguments: &Arguments) -> Outcome {
    let mut keys = Keys::listen();
    let mut screen = Screen { sort: arguments.which.sort, ..Screen::default() };
    let every = arguments.every.max(LEAST_PAUSE);
    let mut answer = edges::ask(place, &arguments.which).await?;
    let mut due = Instant::now() + every;
    loop {
        output::print(&screen.shown(&answer, keys.is_some(), terminal::height()))?;
        let pressed = async {
            match &mut keys {
                Some(keys) => keys.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            key = pressed => if screen.press(key) == Turn::Quit {
                return output::print("\n");
            },
            () = tokio::time::sleep_until(due) => {
                due = Instant::now() + every;
                if !screen.paused {
                    answer = edges::ask(place, &arguments.which).await?;
                }
            }
        }
    }
}

/// What keys have chosen.
#[derive(Debug, Default)]
struct Screen {
    sort: Sort,
    reversed: bool,
    paused: bool,
    /// Shows edges with this in a name.
    filter: String,
    /// The filter is being written.
    writing: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Turn {
    On,
    Quit,
}

impl Screen {
    fn press(&mut self, key: Key) -> Turn {
        if self.writing {
            match key {
                Key::Character(character) => self.filter.push(character),
                Key::Backspace => drop(self.filter.pop()),
                Key::Enter => self.writing = false,
                Key::Escape => (self.writing, self.filter) = (false, String::new()),
            }
            return Turn::On;
        }
        match key {
            Key::Character('q') => return Turn::Quit,
            Key::Character('/') => (self.writing, self.filter) = (true, String::new()),
            Key::Escape => self.filter.clear(),
            Key::Character(' ' | 'p') => self.paused = !self.paused,
            Key::Character('i') => self.reversed = !self.reversed,
            Key::Character(character) => self.sort = sort(character).unwrap_or(self.sort),
            Key::Enter | Key::Backspace => {}
        }
        Turn::On
    }

    /// The whole screen; `height`: how many lines it has.
    fn shown(&self, answer: &Value, keys: bool, height: Option<usize>) -> String {
        let mut answer = answer.clone();
        edges::keep(&mut answer, &self.filter);
        edges::sort(&mut answer, self.sort, self.reversed);
        let mut lines: Vec<String> = edges::render(&answer).lines().map(str::to_owned).collect();
        // Above them time and an empty line, below them an empty line and the keys.
        lines.truncate(height.map_or(usize::MAX, |height| height.saturating_sub(5).max(1)));
        let direction = if self.reversed { ", the least first" } else { "" };
        let paused = if self.paused { "   PAUSED" } else { "" };
        let name = format!("{:?}", self.sort).to_lowercase();
        let head = format!("{}   by {name}{direction}{paused}", answer["at"].as_str().unwrap_or_default());
        let foot = match (keys, self.writing, self.filter.as_str()) {
            (false, ..) => String::new(),
            (true, true, filter) => format!("\n/{filter}_"),
            (true, false, "") => "\nr e 5 9 b c n: sort   i: other way round   /: filter   space: pause   q: quit".to_owned(),
            (true, false, filter) => format!("\nonly {filter:?}; Escape: all"),
        };
        // Clears the terminal from the top left corner on (ECMA-48).
        format!("\u{1b}[H\u{1b}[2J{head}\n\n{}\n{foot}", lines.join("\n"))
    }
}

fn sort(key: char) -> Option<Sort> {
    Some(match key {
        'r' => Sort::Rate,
        'e' => Sort::Errors,
        '5' => Sort::P50,
        '9' => Sort::P99,
        'b' => Sort::Bytes,
        'c' => Sort::Connections,
        'n' => Sort::Name,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn edge(service: &str, rate: f64) -> Value {
        json!({
            "source": {"namespace": "shop", "workload": "web"}, "service": {"name": service, "namespace": "shop"},
            "destination": {"namespace": "unknown", "workload": "unknown"}, "protocol": "http", "rate": rate, "requests": rate,
        })
    }

    /// The services in the order in which they are shown.
    fn services(screen: &Screen, height: Option<usize>) -> String {
        let answer = json!({"at": "now", "windowSeconds": 1, "edges": [edge("a", 2.0), edge("b", 3.0), edge("cart", 1.0)]});
        let shown = screen.shown(&answer, true, height);
        let rows = shown.lines().filter(|line| line.starts_with("shop/web"));
        rows.map(|line| line.split_whitespace().nth(1).unwrap().trim_end_matches(".shop").to_owned()).collect::<Vec<_>>().join(" ")
    }

    fn press(screen: &mut Screen, keys: &str) {
        keys.chars().for_each(|key| assert_eq!(screen.press(Key::Character(key)), Turn::On));
    }

    #[test]
    fn keys_sort_and_turn_round() {
        let mut screen = Screen::default();
        assert_eq!(services(&screen, None), "b a cart");
        press(&mut screen, "i");
        assert_eq!(services(&screen, None), "cart a b");
        press(&mut screen, "nx");
        assert_eq!(services(&screen, None), "cart b a");
        assert_eq!((screen.sort, screen.press(Key::Character('q'))), (Sort::Name, Turn::Quit));
    }

    #[test]
    fn a_filter_is_written_kept_and_taken_back() {
        let mut screen = Screen::default();
        press(&mut screen, "/CArq");
        assert!(screen.shown(&json!({}), true, None).ends_with("\n/CArq_"));
        screen.press(Key::Backspace);
        assert_eq!(services(&screen, None), "cart");
        screen.press(Key::Enter);
        press(&mut screen, "p");
        assert!(screen.paused && screen.filter == "CAr");
        screen.press(Key::Escape);
        assert_eq!(services(&screen, None), "b a cart");
    }

    #[test]
    fn no_more_is_shown_than_there_is_room_for() {
        assert_eq!(services(&Screen::default(), Some(7)), "b");
        assert_eq!(services(&Screen::default(), Some(8)), "b a");
    }
}

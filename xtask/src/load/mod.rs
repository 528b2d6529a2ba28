//! Load and its opposite: what `bench proxy` runs, as this program again, inside the client's or the server's network namespace.
//!
//! Each command prints one JSON object on standard output. Blocking sockets, one thread per connection: the cheapest and the most precise
//! for the few connections that are measured.

mod bulk;
mod connect;
mod http;
mod idle;
mod open;
mod serve;
mod start;

use clap::{Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Subcommand)]
pub enum Load {
    /// Wait until a request is answered with 200
    Wait {
        #[arg(long)]
        to: SocketAddr,
    },
    /// Requests at a fixed rate, sent at times that are set in advance
    Open {
        #[arg(long)]
        to: SocketAddr,
        /// Requests per second, over all connections
        #[arg(long)]
        rate: u32,
        #[arg(long)]
        seconds: f64,
        #[arg(long)]
        connections: u32,
    },
    /// Connect, one byte each way, close; again and again
    Connect {
        #[arg(long)]
        to: SocketAddr,
        #[arg(long)]
        seconds: f64,
        /// How many at a time
        #[arg(long)]
        connections: u32,
    },
    /// As many bytes as will go through one connection
    Bulk {
        #[arg(long)]
        to: SocketAddr,
        #[arg(long)]
        seconds: f64,
        #[arg(long)]
        direction: Direction,
    },
    /// Connections that carry one request each and then stay open until standard input ends
    Idle {
        #[arg(long)]
        to: SocketAddr,
        #[arg(long)]
        count: usize,
    },
    /// Time from starting a program to the first request it has served
    Start {
        #[arg(long)]
        to: SocketAddr,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// The TCP server that `connect` and `bulk` talk to
    Serve {
        #[arg(long)]
        listen: SocketAddr,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Direction {
    /// From the server to the client
    Down,
    /// From the client to the server
    Up,
}

/// How long anything may take that should take milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn run(load: Load) -> Result<(), String> {
    // Sleeps end when they should and not up to 50 us later (prctl(2), PR_SET_TIMERSLACK); threads inherit it. Best effort.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
    let figures = match load {
        Load::Wait { to } => http::wait(to, PATIENCE)?,
        Load::Open { to, rate, seconds, connections } => open::run(to, rate, Duration::from_secs_f64(seconds), connections)?,
        Load::Connect { to, seconds, connections } => connect::run(to, Duration::from_secs_f64(seconds), connections)?,
        Load::Bulk { to, seconds, direction } => bulk::run(to, Duration::from_secs_f64(seconds), direction)?,
        Load::Idle { to, count } => return idle::run(to, count),
        Load::Start { to, command } => start::run(to, &command)?,
        Load::Serve { listen } => return serve::run(listen),
    };
    println!("{figures}");
    Ok(())
}

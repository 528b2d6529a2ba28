//! The kinds of measurement, and how the rounds of the systems are interleaved.

mod connect;
mod http1;
mod http2;
mod memory;
mod open;
mod start;
mod tcp;

use super::run::Run;
use super::system::Running;
use super::table::{Measured, Sheet};
use clap::ValueEnum;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Closed loop, HTTP/1.1
    Http1,
    /// Closed loop, gRPC-like calls over HTTP/2
    Http2,
    /// Open loop at a fixed rate
    Open,
    /// A new connection each
    Connect,
    /// Bulk over one raw TCP connection
    Tcp,
    /// Resident memory
    Memory,
    /// From exec to the first request served
    Start,
}

pub const ALL: [Kind; 7] = [Kind::Http1, Kind::Http2, Kind::Open, Kind::Connect, Kind::Tcp, Kind::Memory, Kind::Start];

/// One load that systems are put under.
pub enum Case {
    Http1(http1::Case),
    Http2(http2::Case),
    Open(open::Case),
    Connect(connect::Case),
    Tcp(tcp::Case),
}

impl Kind {
    /// Whether it loads systems that run already; else it starts its own.
    pub fn loads(self) -> bool {
        !matches!(self, Kind::Memory | Kind::Start)
    }

    /// Everything of this kind; `running` is what [`Kind::loads`].
    pub async fn sheet(self, run: &Run, running: &[Running]) -> Sheet {
        let (mut sheet, cases) = match self {
            Kind::Http1 => (http1::sheet(), http1::cases(run.quick).map(Case::Http1).collect::<Vec<_>>()),
            Kind::Http2 => (http2::sheet(), http2::cases(run.quick).map(Case::Http2).collect()),
            Kind::Open => (open::sheet(), open::cases().map(Case::Open).collect()),
            Kind::Connect => (connect::sheet(), connect::cases().map(Case::Connect).collect()),
            Kind::Tcp => (tcp::sheet(), tcp::cases().map(Case::Tcp).collect()),
            Kind::Memory => return memory::measure(run).await,
            Kind::Start => return start::measure(run).await,
        };
        for case in cases {
            eprintln!("{self:?}, {}", case.label());
            let mut rounds: Vec<Vec<Result<Measured, String>>> = running.iter().map(|_| Vec::new()).collect();
            // The first second of a proxy is not the rest of its life: threads, buffers and connections come to be.
            for system in running {
                let _ = case.round(run, system, WARM_SECONDS).await;
            }
            for _ in 0..run.rounds {
                for (system, rounds) in running.iter().zip(&mut rounds) {
                    rounds.push(case.round(run, system, run.seconds).await);
                }
            }
            for (system, rounds) in running.iter().zip(rounds) {
                sheet.add(system.name, &case.label(), rounds);
            }
        }
        sheet
    }
}

const WARM_SECONDS: f64 = 1.0;

impl Case {
    fn label(&self) -> String {
        match self {
            Case::Http1(case) => case.label(),
            Case::Http2(case) => case.label(),
            Case::Open(case) => case.label(),
            Case::Connect(case) => case.label(),
            Case::Tcp(case) => case.label(),
        }
    }

    async fn round(&self, run: &Run, running: &Running, seconds: f64) -> Result<Measured, String> {
        match self {
            Case::Http1(case) => case.round(run, running, seconds).await,
            Case::Http2(case) => case.round(run, running, seconds).await,
            Case::Open(case) => case.round(run, running, seconds).await,
            Case::Connect(case) => case.round(run, running, seconds).await,
            Case::Tcp(case) => case.round(run, running, seconds).await,
        }
    }
}

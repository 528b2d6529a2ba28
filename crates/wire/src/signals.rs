//! Signals on their way from a proxy to the control plane: each edge is named once on a stream, and by a number from then on.

use crate::generated::desk::{EdgeName, EdgeSignals, Report};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use taut_model::signal::varint::{Malformed, Reader};
use taut_model::signal::{Batch, Edge, Second, Signals};

/// Edges that a stream may name before it has to forget them.
pub const MOST_NAMES: usize = 20_000;

/// What a proxy has summed over one second, with its signals written already: it may wait for a control plane that is away.
#[derive(Clone, Debug, Default)]
pub struct Written {
    pub sequence: u64,
    pub second: Second,
    pub lost: u64,
    pub last: bool,
    /// Requests that the application can work on at a time; 0: no limit is in force.
    pub concurrency_limit: u32,
    edges: Vec<(Arc<Edge>, u32)>,
    bytes: Vec<u8>,
}

impl Written {
    /// Of a second; its sequence number comes when it is queued.
    pub fn of(second: Second, last: bool) -> Self {
        Self { second, last, ..Self::default() }
    }

    pub fn push(&mut self, edge: Arc<Edge>, signals: &Signals) {
        let before = self.bytes.len();
        signals.write(&mut self.bytes);
        match u32::try_from(self.bytes.len()) {
            Ok(end) => self.edges.push((edge, end)),
            // More than 4 GiB of one second.
            Err(_) => self.bytes.truncate(before),
        }
    }

    pub fn edges(&self) -> usize {
        self.edges.len()
    }

    /// Bytes of memory, without those of the edges.
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.edges.capacity() * size_of::<(Arc<Edge>, u32)>() + self.bytes.capacity()
    }

    fn iter(&self) -> impl Iterator<Item = (&Arc<Edge>, &[u8])> {
        let mut from = 0;
        self.edges.iter().map(move |(edge, end)| {
            let written = self.bytes.get(from..*end as usize).unwrap_or_default();
            from = *end as usize;
            (edge, written)
        })
    }
}

/// The proxy's end of a stream.
#[derive(Default)]
pub struct Speaker {
    proxy: String,
    epoch: u64,
    numbers: HashMap<Arc<Edge>, u32>,
    spoken: bool,
}

impl Speaker {
    pub fn new(proxy: impl Into<String>, epoch: u64) -> Self {
        Self { proxy: proxy.into(), epoch, ..Self::default() }
    }

    /// The message for a second that ended `age_ms` ago.
    pub fn say(&mut self, written: &Written, age_ms: u64) -> Report {
        let forget = self.numbers.len() + written.edges() > MOST_NAMES;
        if forget {
            self.numbers.clear();
        }
        let first = !std::mem::replace(&mut self.spoken, true);
        let mut report = Report {
            proxy: if first { self.proxy.clone() } else { String::new() },
            epoch: self.epoch,
            sequence: written.sequence,
            second: written.second,
            age_ms,
            lost: written.lost,
            last: written.last,
            forget,
            names: Vec::new(),
            edges: Vec::with_capacity(written.edges()),
            concurrency_limit: written.concurrency_limit,
        };
        for (edge, signals) in written.iter() {
            let number = match self.numbers.get(edge) {
                Some(number) => *number,
                None => {
                    let number = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
                    let mut bytes = Vec::with_capacity(256);
                    edge.write(&mut bytes);
                    report.names.push(EdgeName { number, edge: bytes });
                    self.numbers.insert(edge.clone(), number);
                    number
                }
            };
            report.edges.push(EdgeSignals { number, signals: signals.to_vec() });
        }
        report
    }
}

/// What a proxy said that is against the rules.
#[derive(Debug, PartialEq, Eq)]
pub enum BadReport {
    /// The first message does not say who speaks, or a later one says it is somebody else.
    Nameless,
    TooManyNames,
    /// Names are numbered in order.
    OutOfOrder,
    /// A number that was not named.
    Unnamed(u32),
    Malformed(Malformed),
    /// Sequence numbers count from 1 on.
    NoSequence,
}

impl fmt::Display for BadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nameless => f.write_str("the first report of a stream must name the proxy, and all others the same or none"),
            Self::TooManyNames => write!(f, "a stream may name at most {MOST_NAMES} edges before it says `forget`"),
            Self::OutOfOrder => f.write_str("edges must be numbered from 0 on, in order"),
            Self::Unnamed(number) => write!(f, "edge {number} was not named on this stream"),
            Self::Malformed(error) => error.fmt(f),
            Self::NoSequence => f.write_str("reports are counted from 1 on"),
        }
    }
}
impl std::error::Error for BadReport {}

impl From<Malformed> for BadReport {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

/// The control plane's end of a stream.
#[derive(Default)]
pub struct Listener {
    proxy: String,
    names: Vec<Arc<Edge>>,
}

impl Listener {
    /// Who speaks; empty before the first report.
    pub fn proxy(&self) -> &str {
        &self.proxy
    }

    /// # Errors
    /// The report is against the rules: the stream should end, its names cannot be trusted any more.
    pub fn hear(&mut self, report: Report) -> Result<Batch, BadReport> {
        let known = report.proxy.is_empty() || report.proxy == self.proxy;
        if self.proxy.is_empty() {
            self.proxy = report.proxy;
        } else if !known {
            return Err(BadReport::Nameless);
        }
        if self.proxy.is_empty() {
            return Err(BadReport::Nameless);
        }
        if report.sequence == 0 {
            return Err(BadReport::NoSequence);
        }
        if report.forget {
            self.names.clear();
        }
        for EdgeName { number, edge } in report.names {
            if self.names.len() >= MOST_NAMES {
                return Err(BadReport::TooManyNames);
            }
            if usize::try_from(number) != Ok(self.names.len()) {
                return Err(BadReport::OutOfOrder);
            }
            let mut reader = Reader::new(&edge);
            self.names.push(Arc::new(Edge::read(&mut reader)?));
        }
        let entry = |EdgeSignals { number, signals }| {
            let edge = usize::try_from(number).ok().and_then(|number| self.names.get(number)).ok_or(BadReport::Unnamed(number))?;
            Ok((edge.clone(), Signals::read(&signals)?))
        };
        let entries = report.edges.into_iter().map(entry).collect::<Result<_, BadReport>>()?;
        let (epoch, sequence, second, lost, last) = (report.epoch, report.sequence, report.second, report.lost, report.last);
        Ok(Batch { proxy: self.proxy.clone(), epoch, sequence, second, entries, lost, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taut_model::signal::{Party, Protocol, Reporter, Security, ServiceName};

    fn edge(service: &str) -> Arc<Edge> {
        Arc::new(Edge {
            source: Party::nobody(),
            service: Arc::new(ServiceName { host: service.into(), namespace: "shop".into(), name: service.into() }),
            destination: Party::nobody(),
            protocol: Protocol::Http,
            route: "".into(),
            reporter: Reporter::Source,
            security: Security::Unknown,
        })
    }

    fn written(sequence: u64, services: &[String]) -> Written {
        let mut written = Written { sequence, second: 1000 + sequence, concurrency_limit: 24, ..Written::default() };
        let signals = Signals { requests: sequence, ..Signals::default() };
        services.iter().for_each(|service| written.push(edge(service), &signals));
        written
    }

    #[test]
    fn an_edge_is_named_once_on_a_stream() {
        let (mut speaker, mut listener) = (Speaker::new("shop/web", 9), Listener::default());
        for sequence in 1..5 {
            let services: Vec<String> = (0..=sequence).map(|n| format!("s{n}")).collect();
            let report = speaker.say(&written(sequence, &services), 5);
            assert_eq!((report.names.len(), report.concurrency_limit), (if sequence == 1 { 2 } else { 1 }, 24));
            let batch = listener.hear(report).unwrap();
            assert_eq!((batch.proxy.as_str(), batch.epoch, batch.sequence, batch.second), ("shop/web", 9, sequence, 1000 + sequence));
            let heard: Vec<_> = batch.entries.iter().map(|(edge, signals)| (edge.service.host.clone(), signals.requests)).collect();
            assert_eq!(heard, services.into_iter().map(|service| (service, sequence)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn names_are_forgotten_before_they_are_too_many() {
        let (mut speaker, mut listener) = (Speaker::new("shop/web", 9), Listener::default());
        for sequence in 1..=5 {
            let services: Vec<String> = (0..8000).map(|n| format!("s{sequence}-{n}")).collect();
            let report = speaker.say(&written(sequence, &services), 0);
            assert_eq!(report.forget, sequence % 2 == 1 && sequence > 1);
            assert_eq!(listener.hear(report).unwrap().entries.len(), 8000);
        }
    }

    #[test]
    fn what_is_against_the_rules_is_refused() {
        let said = |change: &dyn Fn(&mut Report)| {
            let mut report = Speaker::new("shop/web", 9).say(&written(1, &["a".into()]), 0);
            change(&mut report);
            Listener::default().hear(report).map(|_| ())
        };
        assert_eq!(said(&|_| {}), Ok(()));
        assert_eq!(said(&|report| report.proxy.clear()), Err(BadReport::Nameless));
        assert_eq!(said(&|report| report.sequence = 0), Err(BadReport::NoSequence));
        assert_eq!(said(&|report| report.names[0].number = 1), Err(BadReport::OutOfOrder));
        assert_eq!(said(&|report| report.names.clear()), Err(BadReport::Unnamed(0)));
        assert!(matches!(said(&|report| report.names[0].edge.truncate(9)), Err(BadReport::Malformed(_))));
        assert!(matches!(said(&|report| report.edges[0].signals = vec![0xff; 3]), Err(BadReport::Malformed(_))));
    }
}

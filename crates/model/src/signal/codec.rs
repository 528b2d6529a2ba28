//! Edges and signals as bytes, for disk and wire. A set of bits says which parts follow, so that a second of an ordinary edge is about
//! 50 bytes and an idle connection's is three.

use super::sketch::SketchSum;
use super::varint::{Malformed, Reader, put, put_text};
use super::{Edge, Gauges, Outcome, Party, Protocol, Reporter, Security, ServiceName, Signals};
use std::sync::Arc;

/// The longest name in an edge: host names have at most 253 bytes, SPIFFE IDs 2048.
const LONGEST_NAME: usize = 2048;
/// The longest reason: peers may invent them.
const LONGEST_REASON: usize = 64;
const MOST_WRITTEN_OUTCOMES: usize = 128;

const REQUESTS: u64 = 1;
const OUTCOMES: u64 = 1 << 1;
const LATENCY: u64 = 1 << 2;
const REQUEST_BYTES: u64 = 1 << 3;
const RESPONSE_BYTES: u64 = 1 << 4;
const OPENED: u64 = 1 << 5;
const CLOSED: u64 = 1 << 6;
const CONNECTIONS: u64 = 1 << 7;
const IN_FLIGHT: u64 = 1 << 8;
const KNOWN: u64 = (1 << 9) - 1;

/// Not longer than `longest` bytes, cut between characters.
fn cut(text: &str, longest: usize) -> &str {
    if text.len() <= longest { text } else { &text[..text.floor_char_boundary(longest)] }
}

impl Signals {
    /// Appends the signals.
    pub fn write(&self, out: &mut Vec<u8>) {
        let counts = self.counts();
        let mut parts = counts.iter().filter(|(_, value)| *value > 0).map(|(part, _)| part).sum::<u64>();
        parts |= if self.outcomes.0.is_empty() { 0 } else { OUTCOMES };
        parts |= if self.latency.is_empty() { 0 } else { LATENCY };
        put(out, parts);
        for (_, value) in counts.iter().filter(|(_, value)| *value > 0) {
            put(out, *value);
        }
        if parts & OUTCOMES > 0 {
            put(out, self.outcomes.0.len() as u64);
            for (outcome, times) in self.outcomes.iter() {
                put(out, outcome.status.into());
                put(out, outcome.grpc.map_or(0, |code| u64::from(code) + 1));
                put_text(out, outcome.reason.as_deref().map_or("", |reason| cut(reason, LONGEST_REASON)));
                put(out, *times);
            }
        }
        if parts & LATENCY > 0 {
            self.latency.write(out);
        }
    }

    fn counts(&self) -> [(u64, u64); 7] {
        [
            (REQUESTS, self.requests),
            (REQUEST_BYTES, self.request_bytes),
            (RESPONSE_BYTES, self.response_bytes),
            (OPENED, self.opened),
            (CLOSED, self.closed),
            (CONNECTIONS, self.connections),
            (IN_FLIGHT, self.in_flight),
        ]
    }

    /// # Errors
    /// The bytes are no signals, or go on after them.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut signals = Self::default();
        signals.merge_written(bytes)?;
        Ok(signals)
    }

    /// Adds signals that were written, of another proxy or edge in the same span: see [`Signals::merge`].
    ///
    /// # Errors
    /// See [`Signals::read`]; what was added until then stays.
    pub fn merge_written(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let gauges = self.add_written(bytes)?;
        self.connections = self.connections.saturating_add(gauges.connections);
        self.in_flight = self.in_flight.saturating_add(gauges.in_flight);
        Ok(())
    }

    /// Adds all sums of signals that were written, and returns the two gauges: what becomes of those depends on whether they are of the
    /// same span.
    ///
    /// # Errors
    /// See [`Signals::read`]; what was added until then stays.
    pub fn add_written(&mut self, bytes: &[u8]) -> Result<Gauges, Malformed> {
        let mut reader = Reader::new(bytes);
        let (has_latency, gauges) = self.add_counts(&mut reader)?;
        if has_latency {
            self.latency.merge_written(&mut reader)?;
        }
        if reader.is_empty() { Ok(gauges) } else { Err(Malformed::Value) }
    }

    /// The same with durations added up apart: for many.
    ///
    /// # Errors
    /// See [`Signals::read`]; what was added until then stays.
    pub fn add_written_apart(&mut self, bytes: &[u8], latency: &mut SketchSum) -> Result<Gauges, Malformed> {
        let mut reader = Reader::new(bytes);
        let (has_latency, gauges) = self.add_counts(&mut reader)?;
        if has_latency {
            latency.add_written(&mut reader)?;
        }
        if reader.is_empty() { Ok(gauges) } else { Err(Malformed::Value) }
    }

    /// Adds what was written but for durations, which may follow or not: see [`Signals::split_written`].
    ///
    /// # Errors
    /// See [`Signals::read`]; what was added until then stays.
    pub fn add_written_counts(&mut self, bytes: &[u8]) -> Result<Gauges, Malformed> {
        self.add_counts(&mut Reader::new(bytes)).map(|(_, gauges)| gauges)
    }

    /// Adds the durations that [`Signals::split_written`] gave.
    ///
    /// # Errors
    /// The bytes are no sketch.
    pub fn add_written_latency(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(bytes);
        self.latency.merge_written(&mut reader)?;
        if reader.is_empty() { Ok(()) } else { Err(Malformed::Value) }
    }

    /// Written signals as what is counted, and their durations, which are empty without any: most of the bytes, and often not asked for.
    ///
    /// # Errors
    /// The bytes are no signals.
    pub fn split_written(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
        let mut reader = Reader::new(bytes);
        let (has_latency, _) = Self::default().add_counts(&mut reader)?;
        if !has_latency && !reader.is_empty() {
            return Err(Malformed::Value);
        }
        bytes.split_at_checked(bytes.len() - reader.len()).ok_or(Malformed::Short)
    }

    /// Whether durations follow, and the gauges.
    fn add_counts(&mut self, reader: &mut Reader<'_>) -> Result<(bool, Gauges), Malformed> {
        let parts = reader.number()?;
        if parts & !KNOWN > 0 {
            return Err(Malformed::Value);
        }
        let mut next = |part: u64| if parts & part > 0 { reader.number() } else { Ok(0) };
        for (sum, part) in [
            (&mut self.requests, REQUESTS),
            (&mut self.request_bytes, REQUEST_BYTES),
            (&mut self.response_bytes, RESPONSE_BYTES),
            (&mut self.opened, OPENED),
            (&mut self.closed, CLOSED),
        ] {
            *sum = sum.saturating_add(next(part)?);
        }
        let gauges = Gauges { connections: next(CONNECTIONS)?, in_flight: next(IN_FLIGHT)? };
        if parts & OUTCOMES > 0 {
            self.add_outcomes(reader)?;
        }
        Ok((parts & LATENCY > 0, gauges))
    }

    /// How many requests written signals stand for, and connections opened and open where there are none: how busy an edge was.
    ///
    /// # Errors
    /// The bytes end early.
    pub fn written_weight(bytes: &[u8]) -> Result<u64, Malformed> {
        let mut reader = Reader::new(bytes);
        let parts = reader.number()?;
        let mut next = |part: u64| if parts & part > 0 { reader.number() } else { Ok(0) };
        let requests = next(REQUESTS)?;
        let (_, _) = (next(REQUEST_BYTES)?, next(RESPONSE_BYTES)?);
        let (opened, _, connections) = (next(OPENED)?, next(CLOSED)?, next(CONNECTIONS)?);
        Ok(requests.saturating_add(opened).saturating_add(connections))
    }

    fn add_outcomes(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let length = reader.small::<usize>()?;
        if length > MOST_WRITTEN_OUTCOMES {
            return Err(Malformed::TooLarge);
        }
        for _ in 0..length {
            let status = reader.small()?;
            let grpc = reader.number()?.checked_sub(1).map(u16::try_from).transpose().map_err(|_| Malformed::TooLarge)?;
            let reason = reader.text(LONGEST_REASON)?;
            self.outcomes.count(status, grpc, Some(reason).filter(|reason| !reason.is_empty()), reader.number()?);
        }
        Ok(())
    }
}

fn write_party(out: &mut Vec<u8>, party: &Party) {
    for name in [&party.workload, &party.namespace, &party.app, &party.version, &party.principal] {
        put_text(out, cut(name, LONGEST_NAME));
    }
}

fn read_party(reader: &mut Reader<'_>) -> Result<Arc<Party>, Malformed> {
    let mut name = || reader.text(LONGEST_NAME).map(str::to_owned);
    Ok(Arc::new(Party { workload: name()?, namespace: name()?, app: name()?, version: name()?, principal: name()? }))
}

impl Edge {
    /// Appends the edge. Names beyond 2048 bytes are cut.
    pub fn write(&self, out: &mut Vec<u8>) {
        let protocol = match self.protocol {
            Protocol::Http => 0,
            Protocol::Grpc => 1,
            Protocol::Tcp => 2,
        };
        let security = match self.security {
            Security::Unknown => 0,
            Security::Plaintext => 1,
            Security::MutualTls => 2,
        };
        let reporter = match self.reporter {
            Reporter::Source => 0,
            Reporter::Destination => 1,
        };
        out.push(protocol | security << 2 | reporter << 4);
        write_party(out, &self.source);
        write_party(out, &self.destination);
        for name in [&*self.service.host, &self.service.namespace, &self.service.name, &self.route] {
            put_text(out, cut(name, LONGEST_NAME));
        }
    }

    /// # Errors
    /// The bytes do not begin with an edge.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let kinds = *reader.bytes(1)?.first().ok_or(Malformed::Short)?;
        let protocol = match kinds & 3 {
            0 => Protocol::Http,
            1 => Protocol::Grpc,
            2 => Protocol::Tcp,
            _ => return Err(Malformed::Value),
        };
        let security = match kinds >> 2 & 3 {
            0 => Security::Unknown,
            1 => Security::Plaintext,
            2 => Security::MutualTls,
            _ => return Err(Malformed::Value),
        };
        let reporter = match kinds >> 4 {
            0 => Reporter::Source,
            1 => Reporter::Destination,
            _ => return Err(Malformed::Value),
        };
        let (source, destination) = (read_party(reader)?, read_party(reader)?);
        let mut name = || reader.text(LONGEST_NAME);
        let service = Arc::new(ServiceName { host: name()?.to_owned(), namespace: name()?.to_owned(), name: name()?.to_owned() });
        Ok(Self { source, service, destination, protocol, route: name()?.into(), reporter, security })
    }
}

impl Outcome {
    /// Carried, with a status.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }
}

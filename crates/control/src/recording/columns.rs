//! The columns of a recording: their schema, and rows to columns and back.

use parquet::basic::Type as Physical;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{SchemaDescriptor, Type};
use std::sync::Arc;
use taut_model::signal::{Edge, Party, Protocol, Reporter, Second, Security, ServiceName, Signals, Sketch};

/// One edge in one bucket of time. Rows are in the order of time; an edge has at most one row in a bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub start: Second,
    /// Seconds from `start` on.
    pub span: Second,
    pub edge: Arc<Edge>,
    pub signals: Signals,
}

/// In this order, which both directions below keep to. Of a list, the first level says whether there is an element, the second whether
/// what may lack is there.
const SCHEMA: &str = "message recording {
  required int64 start (TIMESTAMP(MILLIS,true));
  required int32 seconds;
  required binary reporter (STRING);
  required boolean counts_once;
  required binary source_workload (STRING);
  required binary source_namespace (STRING);
  required binary source_app (STRING);
  required binary source_version (STRING);
  required binary source_principal (STRING);
  required binary service_host (STRING);
  required binary service_namespace (STRING);
  required binary service (STRING);
  required binary destination_workload (STRING);
  required binary destination_namespace (STRING);
  required binary destination_app (STRING);
  required binary destination_version (STRING);
  required binary destination_principal (STRING);
  required binary protocol (STRING);
  required binary route (STRING);
  required binary security (STRING);
  required int64 requests;
  required int64 errors;
  required int64 request_bytes;
  required int64 response_bytes;
  required int64 opened;
  required int64 closed;
  required int64 connections;
  required int64 in_flight;
  required int64 latency_sum_us;
  required int64 latency_max_us;
  optional double latency_p50_us;
  optional double latency_p99_us;
  required group outcomes (LIST) {
    repeated group list {
      required group element {
        required int32 status;
        optional int32 grpc;
        optional binary reason (STRING);
        optional binary failure (STRING);
        required int64 count;
      }
    }
  }
  required group latency (LIST) {
    repeated group list {
      required group element {
        required int64 from_us;
        required int64 to_us;
        required int64 count;
      }
    }
  }
}";

/// # Errors
/// Never: the text above is right, as the tests show.
pub fn schema() -> Result<Arc<Type>, ParquetError> {
    parse_message_type(SCHEMA).map(Arc::new)
}

/// Names longer than the mesh can have are cut when they are recorded; see `model/signal/codec`.
const LONGEST_TEXT: usize = 2048;

/// What is in a column that should not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misfit;

pub enum Values {
    Bool(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Double(Vec<f64>),
    Text(Vec<ByteArray>),
}

/// One column of a row group: values, and levels where it has any.
pub struct Cells {
    pub values: Values,
    pub definitions: Vec<i16>,
    pub repetitions: Vec<i16>,
    /// How far it was taken from.
    value: usize,
    level: usize,
}

impl Cells {
    pub fn new(values: Values) -> Self {
        Self { values, definitions: Vec::new(), repetitions: Vec::new(), value: 0, level: 0 }
    }

    fn for_type(physical: Physical) -> Self {
        Self::new(match physical {
            Physical::BOOLEAN => Values::Bool(Vec::new()),
            Physical::INT32 => Values::Int32(Vec::new()),
            Physical::DOUBLE => Values::Double(Vec::new()),
            Physical::BYTE_ARRAY => Values::Text(Vec::new()),
            _ => Values::Int64(Vec::new()),
        })
    }

    fn number(&mut self, number: u64) {
        match &mut self.values {
            // Parquet's numbers have a sign; counts beyond 2^63 stay there.
            Values::Int64(values) => values.push(i64::try_from(number).unwrap_or(i64::MAX)),
            Values::Int32(values) => values.push(i32::try_from(number).unwrap_or(i32::MAX)),
            Values::Bool(values) => values.push(number > 0),
            Values::Double(_) | Values::Text(_) => {}
        }
    }

    fn double(&mut self, number: f64) {
        if let Values::Double(values) = &mut self.values {
            values.push(number);
        }
    }

    fn text(&mut self, text: &str) {
        if let Values::Text(values) = &mut self.values {
            values.push(ByteArray::from(&text[..text.floor_char_boundary(LONGEST_TEXT)]));
        }
    }

    fn levels(&mut self, definition: i16, repetition: i16) {
        self.definitions.push(definition);
        self.repetitions.push(repetition);
    }

    fn take_number(&mut self) -> Result<u64, Misfit> {
        let number = match &self.values {
            Values::Int64(values) => values.get(self.value).copied(),
            Values::Int32(values) => values.get(self.value).copied().map(i64::from),
            Values::Bool(_) | Values::Double(_) | Values::Text(_) => None,
        };
        self.value += 1;
        number.and_then(|number| u64::try_from(number).ok()).ok_or(Misfit)
    }

    fn take_text(&mut self) -> Result<&str, Misfit> {
        let Values::Text(values) = &self.values else { return Err(Misfit) };
        let text = values.get(self.value).and_then(|bytes| std::str::from_utf8(bytes.data()).ok());
        self.value += 1;
        text.filter(|text| text.len() <= LONGEST_TEXT).ok_or(Misfit)
    }

    /// How many elements the list of the next row has.
    fn begin(&mut self) -> Result<usize, Misfit> {
        let (Some(0), Some(definition)) = (self.repetitions.get(self.level), self.definitions.get(self.level)) else { return Err(Misfit) };
        if *definition == 0 {
            self.level += 1;
            return Ok(0);
        }
        Ok(1 + self.repetitions[self.level + 1..].iter().take_while(|repetition| **repetition == 1).count())
    }

    /// Steps over an element of a list; whether its value, which may lack, is there.
    fn is_there(&mut self, optional: bool) -> Result<bool, Misfit> {
        let definition = self.definitions.get(self.level).copied().ok_or(Misfit)?;
        self.level += 1;
        match (optional, definition) {
            (false, 1) | (true, 2) => Ok(true),
            (true, 1) => Ok(false),
            _ => Err(Misfit),
        }
    }

    fn element(&mut self) -> Result<u64, Misfit> {
        self.is_there(false)?;
        self.take_number()
    }
}

/// Rows as columns, in the order of the schema.
pub struct Block {
    pub cells: Vec<Cells>,
    pub rows: usize,
    /// Elements of the longest list column.
    pub elements: usize,
}

impl Block {
    pub fn new(schema: &SchemaDescriptor) -> Self {
        let cells = schema.columns().iter().map(|column| Cells::for_type(column.physical_type())).collect();
        Self { cells, rows: 0, elements: 0 }
    }

    pub fn push(&mut self, row: &Row) {
        let Row { start, span, edge, signals } = row;
        let mut to = self.cells.iter_mut();
        let mut number = |number: u64| to.next().into_iter().for_each(|cells| cells.number(number));
        number(start.saturating_mul(1000));
        number(*span);
        let mut text = |text: &str| to.next().into_iter().for_each(|cells| cells.text(text));
        text(&edge.reporter.to_string());
        to.next().into_iter().for_each(|cells| cells.number(edge.counts_once().into()));
        let names = |party: &'_ Party| [&party.workload, &party.namespace, &party.app, &party.version, &party.principal].map(String::clone);
        let mut text = |text: &str| to.next().into_iter().for_each(|cells| cells.text(text));
        names(&edge.source).iter().for_each(|name| text(name));
        [&edge.service.host, &edge.service.namespace, &edge.service.name].into_iter().for_each(|name| text(name));
        names(&edge.destination).iter().for_each(|name| text(name));
        text(&edge.protocol.to_string());
        text(&edge.route);
        text(&edge.security.to_string());
        let latency = &signals.latency;
        for count in [
            signals.requests,
            signals.errors(),
            signals.request_bytes,
            signals.response_bytes,
            signals.opened,
            signals.closed,
            signals.connections,
            signals.in_flight,
            latency.sum(),
            latency.max(),
        ] {
            to.next().into_iter().for_each(|cells| cells.number(count));
        }
        for quantile in [0.5, 0.99] {
            let quantile = latency.quantile(quantile);
            to.next().into_iter().for_each(|cells| {
                cells.levels(quantile.is_some().into(), 0);
                quantile.into_iter().for_each(|value| cells.double(value));
            });
        }
        let lists = to.into_slice();
        if let Some((outcomes, latencies)) = lists.split_at_mut_checked(5) {
            self.elements += push_outcomes(outcomes, signals).max(push_latencies(latencies, latency));
        }
        self.rows += 1;
    }
}

/// Where element `position` stands: the first one begins the row's list.
fn repetition(position: usize) -> i16 {
    i16::from(position > 0)
}

fn push_outcomes(to: &mut [Cells], signals: &Signals) -> usize {
    let [status, grpc, reason, failure, count] = to else { return 0 };
    let optional = |cells: &mut Cells, text: Option<&str>, at: i16| {
        cells.levels(1 + i16::from(text.is_some()), at);
        text.into_iter().for_each(|text| cells.text(text));
    };
    let mut length = 0;
    for (position, (outcome, times)) in signals.outcomes.iter().enumerate() {
        let at = repetition(position);
        for (cells, number) in [(&mut *status, outcome.status.into()), (&mut *count, *times)] {
            cells.levels(1, at);
            cells.number(number);
        }
        grpc.levels(1 + i16::from(outcome.grpc.is_some()), at);
        outcome.grpc.into_iter().for_each(|code| grpc.number(code.into()));
        optional(reason, outcome.reason.as_deref(), at);
        optional(failure, outcome.failure(), at);
        length += 1;
    }
    if length == 0 {
        to.iter_mut().for_each(|cells| cells.levels(0, 0));
    }
    length
}

fn push_latencies(to: &mut [Cells], latency: &Sketch) -> usize {
    let mut length = 0;
    for (position, (low, high, times)) in latency.buckets().enumerate() {
        for (cells, number) in to.iter_mut().zip([low, high, times]) {
            cells.levels(1, repetition(position));
            cells.number(number);
        }
        length += 1;
    }
    if length == 0 {
        to.iter_mut().for_each(|cells| cells.levels(0, 0));
    }
    length
}

/// The rows of columns that anybody may have made, of those buckets that are wanted by their start and span.
///
/// # Errors
/// The columns do not make rows.
pub fn rows(mut block: Block, wanted: impl Fn(Second, Second) -> bool) -> Result<Vec<Row>, Misfit> {
    let mut rows = Vec::new();
    for _ in 0..block.rows {
        let row = take(&mut block.cells)?;
        if wanted(row.start, row.span) {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Columns that say again what others do.
pub fn is_derived(path: &str) -> bool {
    matches!(path, "counts_once" | "errors" | "latency_p50_us" | "latency_p99_us" | "outcomes.list.element.failure" | "latency.list.element.to_us")
}

fn take(cells: &mut [Cells]) -> Result<Row, Misfit> {
    let mut from = cells.iter_mut();
    let mut number = || from.next().ok_or(Misfit)?.take_number();
    let (millis, span) = (number()?, number()?);
    if span == 0 || span > 86_400 || millis % 1000 != 0 {
        return Err(Misfit);
    }
    let mut text = || from.next().ok_or(Misfit)?.take_text().map(str::to_owned);
    let reporter = match text()?.as_str() {
        "source" => Reporter::Source,
        "destination" => Reporter::Destination,
        _ => return Err(Misfit),
    };
    let mut party = || Ok(Arc::new(Party { workload: text()?, namespace: text()?, app: text()?, version: text()?, principal: text()? }));
    let source = party()?;
    let mut text = || from.next().ok_or(Misfit)?.take_text().map(str::to_owned);
    let service = Arc::new(ServiceName { host: text()?, namespace: text()?, name: text()? });
    let destination = Arc::new(Party { workload: text()?, namespace: text()?, app: text()?, version: text()?, principal: text()? });
    let protocol = match text()?.as_str() {
        "http" => Protocol::Http,
        "grpc" => Protocol::Grpc,
        "tcp" => Protocol::Tcp,
        _ => return Err(Misfit),
    };
    let route = text()?.into();
    let security = match text()?.as_str() {
        "mutual_tls" => Security::MutualTls,
        "plaintext" => Security::Plaintext,
        "unknown" => Security::Unknown,
        _ => return Err(Misfit),
    };
    let mut number = || from.next().ok_or(Misfit)?.take_number();
    let mut signals = Signals {
        requests: number()?,
        request_bytes: number()?,
        response_bytes: number()?,
        opened: number()?,
        closed: number()?,
        connections: number()?,
        in_flight: number()?,
        ..Signals::default()
    };
    let (sum, max) = (number()?, number()?);
    take_outcomes(&mut from, &mut signals)?;
    signals.latency = take_latency(&mut from, sum, max)?;
    let edge = Arc::new(Edge { source, service, destination, protocol, route, reporter, security });
    Ok(Row { start: millis / 1000, span, edge, signals })
}

type Columns<'a> = std::slice::IterMut<'a, Cells>;

fn take_outcomes(from: &mut Columns<'_>, signals: &mut Signals) -> Result<(), Misfit> {
    let mut next = || from.next().ok_or(Misfit);
    let (status, grpc, reason, count) = (next()?, next()?, next()?, next()?);
    let length = status.begin()?;
    if [grpc.begin()?, reason.begin()?, count.begin()?] != [length; 3] {
        return Err(Misfit);
    }
    for _ in 0..length {
        let code = u16::try_from(status.element()?).map_err(|_| Misfit)?;
        let grpc = if grpc.is_there(true)? { Some(u16::try_from(grpc.take_number()?).map_err(|_| Misfit)?) } else { None };
        let reason = if reason.is_there(true)? { Some(reason.take_text()?) } else { None };
        signals.outcomes.count(code, grpc, reason, count.element()?);
    }
    Ok(())
}

fn take_latency(from: &mut Columns<'_>, sum: u64, max: u64) -> Result<Sketch, Misfit> {
    let mut next = || from.next().ok_or(Misfit);
    let (low, count) = (next()?, next()?);
    let length = low.begin()?;
    if count.begin()? != length {
        return Err(Misfit);
    }
    let buckets = (0..length).map(|_| Ok((low.element()?, count.element()?))).collect::<Result<Vec<_>, Misfit>>()?;
    Sketch::of(buckets, sum, max).map_err(|_| Misfit)
}

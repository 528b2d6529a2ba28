//! Writes a recording: rows as they come, one row group in memory at a time, and at the end what the file says about itself.

use super::columns::{self, Block, Cells, Row, Values};
use super::{FORMAT, MOST_CELLS, MOST_ROWS, NO_SUM, key, place_of_sum};
use crate::signal_routes;
use crate::signals::Gap;
use parquet::data_type::{BoolType, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{ColumnPath, SchemaDescPtr};
use serde_json::Value;
use std::fmt;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;
use taut_insight::change::Change;
use taut_model::signal::Second;

/// Row groups of a file: 134 million rows, and about 50 MB of what the writer has to remember of them.
const MOST_GROUPS: usize = 8192;
/// What is passed on at once.
const PIECE: usize = 256 << 10;

/// What a recording says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// Of the control plane that wrote it.
    pub version: String,
    /// The trust domain of the mesh.
    pub mesh: String,
    pub window: Range<Second>,
    /// The one namespace whose edges are in it; `None`: all.
    pub namespace: Option<String>,
    pub gaps: Vec<Gap>,
    /// Generations of configuration in the window, as [`crate::changes`] lists them, with their differences.
    pub changes: Vec<Value>,
    /// Objectives that came into force before or in the window, the first first, as [`crate::incidents`] replays them.
    pub objectives: Vec<Value>,
    /// Endpoints that came and went in the window, as far as the control plane that wrote it has seen it.
    pub endpoints: Vec<Change>,
}

/// Why a recording could not be written.
#[derive(Debug)]
pub enum NotWritten {
    Io(io::Error),
    /// More than one file can hold.
    TooLong,
    Format(ParquetError),
}

impl fmt::Display for NotWritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::TooLong => {
                let most = MOST_GROUPS * MOST_ROWS / 1_000_000;
                write!(f, "a recording holds at most {most} million rows, and this span has more; record a shorter one, or one namespace")
            }
            Self::Format(error) => error.fmt(f),
        }
    }
}
impl std::error::Error for NotWritten {}

impl From<ParquetError> for NotWritten {
    fn from(error: ParquetError) -> Self {
        match error {
            ParquetError::External(error) if error.is::<io::Error>() => match error.downcast() {
                Ok(error) => Self::Io(*error),
                Err(error) => Self::Format(ParquetError::External(error)),
            },
            other => Self::Format(other),
        }
    }
}

impl From<io::Error> for NotWritten {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

pub struct Writer<W: Write + Send> {
    file: SerializedFileWriter<Sealing<W>>,
    schema: SchemaDescPtr,
    block: Block,
    groups: usize,
    rows: u64,
}

impl<W: Write + Send> Writer<W> {
    /// # Errors
    /// The beginning cannot be written.
    pub fn new(to: W) -> Result<Self, NotWritten> {
        let schema = columns::schema()?;
        // Only what readers use to find a time: the names of all edges need not be in the footer again and again.
        let properties = WriterProperties::builder()
            .set_created_by(concat!("tautline ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_statistics_enabled(EnabledStatistics::None)
            .set_column_statistics_enabled(ColumnPath::from("start"), EnabledStatistics::Chunk)
            .set_offset_index_disabled(true)
            .set_max_row_group_row_count(Some(MOST_ROWS))
            .build();
        let file = SerializedFileWriter::new(Sealing::new(to), schema, Arc::new(properties))?;
        let schema = file.schema_descr().clone();
        let block = Block::new(&schema);
        Ok(Self { file, schema: Arc::new(schema), block, groups: 0, rows: 0 })
    }

    /// Rows must come in the order of their buckets.
    ///
    /// # Errors
    /// It cannot be written, or there are too many.
    pub fn push(&mut self, row: &Row) -> Result<(), NotWritten> {
        self.block.push(row);
        self.rows += 1;
        // A row has fewer elements than there is room for beside this limit.
        if self.block.rows >= MOST_ROWS || self.block.elements >= MOST_CELLS / 2 {
            self.write_group()?;
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), NotWritten> {
        if self.block.rows == 0 {
            return Ok(());
        }
        if self.groups >= MOST_GROUPS {
            return Err(NotWritten::TooLong);
        }
        self.groups += 1;
        let block = std::mem::replace(&mut self.block, Block::new(&self.schema));
        let mut group = self.file.next_row_group()?;
        for cells in &block.cells {
            let Some(mut column) = group.next_column()? else { break };
            write_column(&mut column, cells)?;
            column.close()?;
        }
        group.close()?;
        Ok(())
    }

    /// Ends the file; how many rows are in it. Without this it is none.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self, about: &About) -> Result<u64, NotWritten> {
        self.write_group()?;
        self.file.flush()?;
        let json = |value: Result<String, serde_json::Error>| value.unwrap_or_else(|_| "[]".to_owned());
        for (name, value) in [
            (key::FORMAT, FORMAT.to_owned()),
            (key::SUM, NO_SUM.to_owned()),
            (key::VERSION, about.version.clone()),
            (key::MESH, about.mesh.clone()),
            (key::FROM, signal_routes::text(about.window.start)),
            (key::TO, signal_routes::text(about.window.end)),
            (key::NAMESPACE, about.namespace.clone().unwrap_or_default()),
            (key::GAPS, json(serde_json::to_string(&about.gaps))),
            (key::CHANGES, json(serde_json::to_string(&about.changes))),
            (key::OBJECTIVES, json(serde_json::to_string(&about.objectives))),
            (key::ENDPOINTS, json(serde_json::to_string(&about.endpoints))),
        ] {
            self.file.append_key_value_metadata(KeyValue::new(name.to_owned(), value));
        }
        self.file.inner_mut().hold();
        self.file.finish()?;
        self.file.inner_mut().seal()?;
        Ok(self.rows)
    }
}

fn write_column(column: &mut SerializedColumnWriter<'_>, cells: &Cells) -> Result<(), ParquetError> {
    let definitions = (!cells.definitions.is_empty()).then_some(cells.definitions.as_slice());
    let repetitions = (!cells.repetitions.is_empty()).then_some(cells.repetitions.as_slice());
    match &cells.values {
        Values::Bool(values) => column.typed::<BoolType>().write_batch(values, definitions, repetitions),
        Values::Int32(values) => column.typed::<Int32Type>().write_batch(values, definitions, repetitions),
        Values::Int64(values) => column.typed::<Int64Type>().write_batch(values, definitions, repetitions),
        Values::Double(values) => column.typed::<DoubleType>().write_batch(values, definitions, None),
        Values::Text(values) => column.typed::<ByteArrayType>().write_batch(values, definitions, repetitions),
    }?;
    Ok(())
}

/// Passes bytes on and sums them; the footer is held back until the sum is written into it.
struct Sealing<W> {
    to: W,
    sum: crc32fast::Hasher,
    held: Vec<u8>,
    holding: bool,
}

impl<W: Write> Sealing<W> {
    fn new(to: W) -> Self {
        Self { to, sum: crc32fast::Hasher::new(), held: Vec::new(), holding: false }
    }

    fn hold(&mut self) {
        self.holding = true;
    }

    fn pass(&mut self) -> io::Result<()> {
        self.sum.update(&self.held);
        self.to.write_all(&self.held)?;
        self.held.clear();
        Ok(())
    }

    fn seal(&mut self) -> io::Result<()> {
        let place = place_of_sum(&self.held).ok_or_else(|| io::Error::other("the footer has no place for the sum"))?;
        let mut sum = self.sum.clone();
        sum.update(&self.held);
        let text = format!("{:08x}", sum.finalize());
        self.held[place..place + NO_SUM.len()].copy_from_slice(text.as_bytes());
        self.to.write_all(&self.held)?;
        self.held.clear();
        self.to.flush()
    }
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        if !self.holding && self.held.len() >= PIECE {
            self.pass()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.holding { Ok(()) } else { self.pass() }
    }
}

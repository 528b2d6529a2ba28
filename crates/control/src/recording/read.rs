//! Reads a recording that anybody may have made or damaged: what is wrong with it is an error, and no more of it than one row group is
//! in memory.

use super::columns::{self, Block, Cells, Row, Values};
use super::write::About;
use super::{FORMAT, MOST_CELLS, MOST_ROWS, NO_SUM, key, place_of_sum};
use crate::signal_routes;
use crate::signals::{Filter, Gap, Sum};
use parquet::basic::Encoding;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, RowGroupReader};
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::schema::types::SchemaDescriptor;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use taut_model::signal::{Edge, Second, Signals};

/// `PAR1`, at both ends of the file.
const MAGIC: &[u8; 4] = b"PAR1";
/// The end of the file: the length of the footer and `PAR1`.
const TAIL: u64 = 8;
/// Of a footer: 8192 row groups need 50 MB, and the changes of configuration have a ceiling of their own.
const LONGEST_FOOTER: u64 = 128 << 20;
/// Edges that are told apart when a recording is summed, as many as a store can have had.
const MOST_EDGES: usize = 1_000_000;

/// Why a file cannot be read as a recording.
#[derive(Debug)]
pub enum Unreadable {
    Io(io::Error),
    /// It is something else.
    Foreign(&'static str),
    /// A recording of another version of the format.
    Version(String),
    Damaged(String),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot be read: {error}"),
            Self::Foreign(what) => write!(f, "is no recording: {what}; `taut record` makes one"),
            Self::Version(version) => {
                write!(f, "is a recording of format {version:?}, and this taut reads format {FORMAT:?}; use the taut that made it")
            }
            Self::Damaged(why) => write!(f, "is damaged: {why}; make it or copy it anew"),
        }
    }
}
impl std::error::Error for Unreadable {}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ParquetError> for Unreadable {
    fn from(error: ParquetError) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<columns::Misfit> for Unreadable {
    fn from(_: columns::Misfit) -> Self {
        Self::Damaged("its columns do not fit together".to_owned())
    }
}

/// A recording that is open.
pub struct Recording {
    file: SerializedFileReader<File>,
    /// Bytes of the file.
    length: u64,
    about: About,
}

/// What a whole recording adds up to, each request counted once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub rows: u64,
    pub edges: usize,
    pub services: usize,
    pub requests: u64,
    pub errors: u64,
    pub bytes: u64,
    /// The finest and the coarsest resolution, in seconds; 0 without rows.
    pub finest: Second,
    pub coarsest: Second,
}

impl Recording {
    /// Opens a recording and checks that all of it is as it was written.
    ///
    /// # Errors
    /// It is none, of another version, or damaged.
    pub fn open(path: &Path) -> Result<Self, Unreadable> {
        let mut file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(Unreadable::Foreign("it is no plain file"));
        }
        let length = file.metadata()?.len();
        let sum_fits = check(&mut file)?;
        let file = guarded(|| Ok(SerializedFileReader::new(file)?))?;
        let said = said(&file);
        match said.get(key::FORMAT).map(String::as_str) {
            None => return Err(Unreadable::Foreign("it is a Parquet file of something else")),
            Some(FORMAT) => {}
            Some(other) => return Err(Unreadable::Version(other.chars().take(32).collect())),
        }
        if !sum_fits {
            return Err(Unreadable::Damaged("its sum does not fit what is in it".to_owned()));
        }
        let own = columns::schema().map_err(Unreadable::from)?;
        if !same_columns(&SchemaDescriptor::new(own), file.metadata().file_metadata().schema_descr()) {
            return Err(Unreadable::Damaged("it has other columns than its version says".to_owned()));
        }
        Ok(Self { about: about(&said)?, file, length })
    }

    pub fn about(&self) -> &About {
        &self.about
    }

    /// The rows whose bucket begins in the window, in the order of time. `progress` is told how many row groups of how many are done.
    ///
    /// # Errors
    /// It is damaged, or what `take` says.
    pub fn each_row(
        &self,
        window: &Range<Second>,
        progress: &mut dyn FnMut(usize, usize),
        mut take: impl FnMut(Row) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        let groups = self.file.num_row_groups();
        for number in 0..groups {
            let rows = guarded(|| {
                let group = self.file.get_row_group(number)?;
                let count = usize::try_from(group.metadata().num_rows()).unwrap_or(usize::MAX);
                if count > MOST_ROWS {
                    return Err(Unreadable::Damaged("it has a row group that is too large".to_owned()));
                }
                let block = Block { cells: read_columns(&*group, count, self.length)?, rows: count, elements: 0 };
                Ok(columns::rows(block, |start, _| window.contains(&start))?)
            })?;
            rows.into_iter().try_for_each(&mut take)?;
            progress(number + 1, groups);
        }
        Ok(())
    }

    /// What edges carried in the window, as [`crate::signals::Store::edges`] says it. Buckets belong to the window in which they begin.
    ///
    /// # Errors
    /// It is damaged.
    pub fn edges(
        &self,
        window: &Range<Second>,
        filter: &Filter,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<(Arc<Edge>, Signals)>, Unreadable> {
        let mut sums: BTreeMap<Arc<Edge>, Sum> = BTreeMap::new();
        self.each_row(window, progress, |row| {
            if !filter.accepts(&row.edge) {
                return Ok(());
            }
            if sums.len() >= MOST_EDGES && !sums.contains_key(&row.edge) {
                return Err(Unreadable::Damaged(format!("it names more than {MOST_EDGES} edges")));
            }
            let sum = Sum::of(row.start, row.start.saturating_add(row.span), row.signals);
            sums.entry(row.edge).or_default().merge(sum);
            Ok(())
        })?;
        Ok(sums.into_iter().map(|(edge, sum)| (edge, sum.finish(window.end))).collect())
    }

    /// # Errors
    /// It is damaged.
    pub fn totals(&self, progress: &mut dyn FnMut(usize, usize)) -> Result<Totals, Unreadable> {
        let mut totals = Totals::default();
        let (mut edges, mut services) = (std::collections::HashSet::new(), std::collections::HashSet::new());
        self.each_row(&(0..Second::MAX), progress, |row| {
            totals.rows += 1;
            totals.finest = if totals.finest == 0 { row.span } else { totals.finest.min(row.span) };
            totals.coarsest = totals.coarsest.max(row.span);
            if row.edge.counts_once() {
                let Signals { requests, request_bytes, response_bytes, .. } = &row.signals;
                totals.requests = totals.requests.saturating_add(*requests);
                totals.errors = totals.errors.saturating_add(row.signals.errors());
                totals.bytes = totals.bytes.saturating_add(*request_bytes).saturating_add(*response_bytes);
                if edges.len() >= MOST_EDGES {
                    return Err(Unreadable::Damaged(format!("it names more than {MOST_EDGES} edges")));
                }
                services.insert(row.edge.service.clone());
                edges.insert(row.edge);
            }
            Ok(())
        })?;
        (totals.edges, totals.services) = (edges.len(), services.len());
        Ok(totals)
    }
}

/// The reader of the format promises errors, and its authors mend where it panics; until then a panic is an error all the same.
fn guarded<T>(work: impl FnOnce() -> Result<T, Unreadable>) -> Result<T, Unreadable> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Unreadable::Damaged("it cannot be parsed".to_owned())))
}

/// Looks at the frame of the file and sums all of it, before anything is parsed. Whether the sum fits: false without one, too.
fn check(file: &mut File) -> Result<bool, Unreadable> {
    const FOREIGN: Unreadable = Unreadable::Foreign("it is no Parquet file");
    let length = file.metadata()?.len();
    let (mut head, mut tail) = ([0; 4], [0; TAIL as usize]);
    if length < TAIL + 4 {
        return Err(FOREIGN);
    }
    file.read_exact(&mut head)?;
    file.seek(SeekFrom::End(-(TAIL as i64)))?;
    file.read_exact(&mut tail)?;
    let [a, b, c, d, magic @ ..] = tail;
    if head != *MAGIC {
        return Err(FOREIGN);
    }
    if magic != *MAGIC {
        return Err(Unreadable::Damaged("its end is missing".to_owned()));
    }
    let footer = u64::from(u32::from_le_bytes([a, b, c, d]));
    let Some(before) = length.checked_sub(TAIL + footer).filter(|before| *before >= 4 && footer <= LONGEST_FOOTER) else {
        return Err(Unreadable::Damaged("its footer is longer than it may be".to_owned()));
    };
    file.rewind()?;
    let mut sum = crc32fast::Hasher::new();
    let mut piece = vec![0; 256 << 10];
    let mut left = before;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        file.read_exact(&mut piece[..part])?;
        sum.update(&piece[..part]);
        left -= part as u64;
    }
    let mut end = Vec::new();
    file.take(footer + TAIL).read_to_end(&mut end)?;
    file.rewind()?;
    let Some(place) = place_of_sum(&end) else { return Ok(false) };
    let written = end[place..place + NO_SUM.len()].to_vec();
    end[place..place + NO_SUM.len()].copy_from_slice(NO_SUM.as_bytes());
    sum.update(&end);
    Ok(format!("{:08x}", sum.finalize()).as_bytes() == written)
}

fn said(file: &SerializedFileReader<File>) -> BTreeMap<String, String> {
    let pairs = file.metadata().file_metadata().key_value_metadata().into_iter().flatten();
    pairs.filter_map(|pair| Some((pair.key.clone(), pair.value.clone()?))).collect()
}

fn about(said: &BTreeMap<String, String>) -> Result<About, Unreadable> {
    let text = |name: &str| said.get(name).cloned().unwrap_or_default();
    let damaged = |name: &str| Unreadable::Damaged(format!("{name} cannot be understood"));
    let time = |name: &str| signal_routes::time(&text(name)).map_err(|_| damaged(name));
    let gaps: Vec<Gap> = serde_json::from_str(&text(key::GAPS)).map_err(|_| damaged(key::GAPS))?;
    let changes = serde_json::from_str(&text(key::CHANGES)).map_err(|_| damaged(key::CHANGES))?;
    // Recordings of older versions have none.
    let objectives = said.get(key::OBJECTIVES).map_or(Ok(Vec::new()), |text| serde_json::from_str(text).map_err(|_| damaged(key::OBJECTIVES)))?;
    let endpoints = said.get(key::ENDPOINTS).map_or(Ok(Vec::new()), |text| serde_json::from_str(text).map_err(|_| damaged(key::ENDPOINTS)))?;
    let window = time(key::FROM)?..time(key::TO)?;
    let namespace = Some(text(key::NAMESPACE)).filter(|name| !name.is_empty());
    Ok(About { version: text(key::VERSION), mesh: text(key::MESH), window, namespace, gaps, changes, objectives, endpoints })
}

fn same_columns(own: &SchemaDescriptor, other: &SchemaDescriptor) -> bool {
    own.num_columns() == other.num_columns()
        && own.columns().iter().zip(other.columns()).all(|(own, other)| {
            own.path() == other.path()
                && own.physical_type() == other.physical_type()
                && own.max_def_level() == other.max_def_level()
                && own.max_rep_level() == other.max_rep_level()
        })
}

/// The columns that are no repetition of others.
fn read_columns(group: &dyn RowGroupReader, rows: usize, file: u64) -> Result<Vec<Cells>, Unreadable> {
    let metadata = group.metadata();
    let mut all = Vec::new();
    for (number, column) in metadata.columns().iter().enumerate() {
        if columns::is_derived(&column.column_path().string()) {
            continue;
        }
        let (start, length) = column.byte_range();
        if start.checked_add(length).is_none_or(|end| end > file) {
            return Err(Unreadable::Damaged("a column lies outside of it".to_owned()));
        }
        let pages = Pages { pages: group.get_column_page_reader(number)?, left: MOST_CELLS };
        let cells = match get_column_reader(column.column_descr_ptr(), Box::new(pages)) {
            ColumnReader::Int32ColumnReader(reader) => read(reader, rows, Values::Int32)?,
            ColumnReader::Int64ColumnReader(reader) => read(reader, rows, Values::Int64)?,
            ColumnReader::ByteArrayColumnReader(reader) => read(reader, rows, Values::Text)?,
            _ => return Err(columns::Misfit.into()),
        };
        all.push(cells);
    }
    Ok(all)
}

fn read<T: DataType>(mut reader: ColumnReaderImpl<T>, rows: usize, values: fn(Vec<T::T>) -> Values) -> Result<Cells, Unreadable> {
    let (mut definitions, mut repetitions, mut held) = (Vec::new(), Vec::new(), Vec::new());
    let mut left = rows;
    while left > 0 {
        let (records, ..) = reader.read_records(left, Some(&mut definitions), Some(&mut repetitions), &mut held)?;
        if records == 0 {
            break;
        }
        left = left.saturating_sub(records);
    }
    if left > 0 {
        return Err(columns::Misfit.into());
    }
    let mut cells = Cells::new(values(held));
    (cells.definitions, cells.repetitions) = (definitions, repetitions);
    Ok(cells)
}

/// Pages of a column, each checked before anything is made of it: what a page claims to hold is memory that a reader takes.
struct Pages {
    pages: Box<dyn PageReader>,
    /// How many more values the column may have.
    left: usize,
}

impl Pages {
    fn checked(&mut self, page: Page) -> Result<Page, ParquetError> {
        let count = page.num_values() as usize;
        // A value of a dictionary takes at least four bytes.
        let room = if page.is_dictionary_page() { page.buffer().len() / 4 } else { self.left };
        if count > room {
            return Err(ParquetError::General("a page claims more values than it may have".to_owned()));
        }
        if page.is_data_page() {
            self.left -= count;
        }
        // The only ones that are written. The old name of a dictionary's encoding is what version 1 of data pages has.
        let known = [Encoding::PLAIN, Encoding::PLAIN_DICTIONARY, Encoding::RLE_DICTIONARY, Encoding::RLE].contains(&page.encoding());
        if known { Ok(page) } else { Err(ParquetError::General("a page has an encoding that recordings do not have".to_owned())) }
    }
}

impl Iterator for Pages {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        self.pages.get_next_page()?.map(|page| self.checked(page)).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        self.pages.skip_next_page()
    }
}

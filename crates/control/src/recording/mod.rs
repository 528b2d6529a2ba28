//! Recordings: what the store of signals holds of a span of time, with the changes of configuration in it, as one Parquet file. It is
//! read without any control plane: by `taut replay`, by pandas, by DuckDB. docs/recordings.md describes the format.

mod columns;
mod read;
mod route;
#[cfg(test)]
mod tests;
mod write;

pub use columns::Row;
pub use read::{Recording, Totals, Unreadable};
pub use route::{Recordings, router};
pub use write::{About, NotWritten, Writer};

/// The version of the format that is written, and the only one that is read. Columns may be added without a new one.
pub const FORMAT: &str = "1";

/// Names in the file's metadata.
mod key {
    pub const FORMAT: &str = "taut.format";
    /// CRC-32 of the whole file, in hexadecimal, as if it were written [`super::NO_SUM`] here.
    pub const SUM: &str = "taut.crc32";
    pub const VERSION: &str = "taut.version";
    /// The trust domain.
    pub const MESH: &str = "taut.mesh";
    pub const FROM: &str = "taut.from";
    pub const TO: &str = "taut.to";
    /// Empty: all of them.
    pub const NAMESPACE: &str = "taut.namespace";
    /// JSON.
    pub const GAPS: &str = "taut.gaps";
    pub const CHANGES: &str = "taut.changes";
    pub const OBJECTIVES: &str = "taut.objectives";
    pub const ENDPOINTS: &str = "taut.endpoints";
}

/// Stands where the sum comes.
const NO_SUM: &str = "00000000";

/// Rows of a row group, and elements of one of its lists: what a writer and a reader hold at once.
const MOST_ROWS: usize = 16_384;
const MOST_CELLS: usize = 1 << 20;

/// Where the sum stands in a footer: after its name and the head of a Thrift string of eight bytes (compact protocol: field 2, type
/// binary). Nothing else can look like it, for JSON has no such byte.
fn place_of_sum(footer: &[u8]) -> Option<usize> {
    let mark = [key::SUM.as_bytes(), &[0x18, 8]].concat();
    let at = footer.windows(mark.len()).position(|bytes| bytes == mark)? + mark.len();
    (at + NO_SUM.len() <= footer.len()).then_some(at)
}

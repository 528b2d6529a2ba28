//! The store on disk: one row of files per resolution, in ceilings. What a crash left unfinished is cut off or thrown away when the
//! directory is opened; each file names the edges it is about, so any of them can be deleted alone.

use super::directory::{Addresses, Directory};
use super::frame::Frame;
use super::level::{SPANS, which_goes};
use super::log::{self, Writer};
use super::packed;
use super::segment::{Found, Layout, Record, Segment};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use taut_model::signal::Second;

/// Edges in directories of packed files that are kept in memory, over all files: 16 bytes each.
const MOST_LISTED: usize = 1_000_000;

pub struct Disk {
    directory: PathBuf,
    ceiling: u64,
    segments: [VecDeque<Segment>; SPANS.len()],
    writers: [Option<Writer>; SPANS.len()],
    unsynced: bool,
    addresses: Arc<Addresses>,
    /// The end of what was deleted of each level.
    gone: [Second; SPANS.len()],
}

/// What had to go.
#[derive(Default)]
pub struct Shed {
    pub files: u64,
    /// Times of which nothing else holds what went.
    pub lost: Vec<Range<Second>>,
}

/// The end of the name of the file that says up to when a level was deleted.
const GONE: &str = "gone";
const NAMES: [&str; SPANS.len()] = ["1s", "10s", "1m", "1h"];

impl Disk {
    /// Opens or creates the directory, cuts off what a crash left unfinished, and tells what is there.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub fn open(directory: &Path, ceiling: u64) -> io::Result<(Self, Found)> {
        fs::create_dir_all(directory)?;
        let (segments, writers, addresses, gone) = Default::default();
        let mut disk = Self { directory: directory.to_owned(), ceiling, segments, writers, unsynced: false, addresses, gone };
        let mut found = Found::default();
        let mut paths: Vec<PathBuf> = fs::read_dir(directory)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        for path in paths {
            if path.extension().is_some_and(|extension| extension == packed::UNFINISHED) {
                // The log that it was to replace is still there.
                drop(fs::remove_file(&path));
            }
            let Some(level) = level_of(&path) else { continue };
            match scan(&path, level, &mut found) {
                Ok(Some(segment)) => disk.segments[level].push_back(segment),
                // Not one whole record: nothing is lost with it.
                Ok(None) => drop(fs::remove_file(&path)),
                Err(error) => tracing::warn!(path = %path.display(), %error, "a file of signals cannot be read and is left out"),
            }
        }
        for row in &mut disk.segments {
            row.make_contiguous().sort_by_key(|segment| segment.numbers.start);
        }
        disk.gone = std::array::from_fn(|level| disk.find_gone(level));
        Ok((disk, found))
    }

    /// What was deleted before a start: as it was noted, or as what is coarser shows it.
    fn find_gone(&self, level: usize) -> Second {
        let noted = fs::read_to_string(self.directory.join(format!("{}.{GONE}", NAMES[level]))).ok().and_then(|text| text.parse().ok());
        let oldest = |level: usize| self.segments[level].iter().map(|segment| segment.time.start).min();
        let first = oldest(level).unwrap_or_default();
        let known_before = |coarser: usize| oldest(coarser).is_some_and(|start| start.saturating_add(SPANS[coarser]) <= first);
        let shown = (level + 1..SPANS.len()).any(known_before).then_some(first);
        noted.max(shown).unwrap_or_default()
    }

    pub fn bytes(&self) -> u64 {
        self.bytes_by_level().into_iter().sum()
    }

    fn bytes_by_level(&self) -> [u64; SPANS.len()] {
        std::array::from_fn(|level| self.of_level(level).map(|segment| segment.bytes).sum())
    }

    /// Segments of a level, the oldest first.
    pub fn of_level(&self, level: usize) -> impl Iterator<Item = &Segment> {
        self.segments[level].iter().chain(self.writers[level].as_ref().map(|writer| &writer.segment))
    }

    /// Where each edge has its one address.
    pub fn addresses(&self) -> Arc<Addresses> {
        self.addresses.clone()
    }

    /// Appends a record.
    ///
    /// # Errors
    /// Nothing was written, or nothing that counts.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        let level = record.level();
        // Each defines its edges anew, which for 10,000 of them is 3 MB.
        let largest = (self.ceiling / 32).clamp(16 << 10, 32 << 20);
        let full = |writer: &Writer| writer.torn || writer.segment.bytes >= largest;
        if self.writers[level].as_ref().is_some_and(full)
            && let Some(writer) = self.writers[level].take()
        {
            writer.finish(&mut self.segments[level])?;
        }
        let number = match record {
            Record::Frames { frames, .. } => frames.first().map_or(0, |frame| frame.number),
            Record::Gap(_) => self.of_level(0).last().map_or(0, |segment| segment.numbers.end),
        };
        let writer = match &mut self.writers[level] {
            Some(writer) => writer,
            none => {
                let path = self.directory.join(format!("{}-{number:020}.signals", NAMES[level]));
                none.insert(Writer::new(&path, number)?)
            }
        };
        writer.append(record, &self.addresses)?;
        self.unsynced = true;
        Ok(())
    }

    /// Has the system put on the disk what was written. A process that is killed loses nothing without it; a power cut may.
    ///
    /// # Errors
    /// The disk says so.
    pub fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.unsynced) {
            self.writers.iter().flatten().try_for_each(|writer| writer.file.sync_data())?;
        }
        Ok(())
    }

    /// A complete log that is to be packed, and its level.
    pub fn unpacked(&self) -> Option<(usize, Segment)> {
        let log = |row: &VecDeque<Segment>| row.iter().find(|segment| matches!(segment.layout, Layout::Log)).cloned();
        self.segments.iter().enumerate().find_map(|(level, row)| Some((level, log(row)?)))
    }

    /// A log has been packed, or cannot be.
    pub fn pack(&mut self, level: usize, path: &Path, packed: Option<Segment>) {
        let Some(segment) = self.segments[level].iter_mut().find(|segment| *segment.path == *path) else { return };
        match packed {
            Some(packed) => *segment = packed,
            None => segment.layout = Layout::Unpackable,
        }
    }

    /// Deletes the oldest, as [`which_goes`] says, while all is larger than the ceiling. `through`: up to which number frames of each
    /// level were taken up by the next: the others go only if nothing else can.
    pub fn shed(&mut self, through: &[u64; SPANS.len()]) -> Shed {
        let mut shed = Shed::default();
        let mut bytes = self.bytes_by_level();
        while bytes.iter().sum::<u64>() > self.ceiling {
            let oldest = |level: usize| self.segments[level].front();
            let time = |segment: Option<&Segment>| segment.map(|segment| segment.time.clone());
            let safe = |level: usize| oldest(level).filter(|segment| segment.numbers.end <= through[level].saturating_add(1));
            let taken_up = which_goes(bytes, |level| time(safe(level)));
            let Some(level) = taken_up.or_else(|| which_goes(bytes, |level| time(oldest(level)))) else { break };
            let Some(oldest) = self.segments[level].pop_front() else { break };
            bytes[level] -= oldest.bytes;
            shed.files += 1;
            if taken_up.is_none() {
                shed.lost.push(oldest.time.clone());
            }
            self.remove(level, &oldest);
        }
        shed
    }

    fn remove(&mut self, level: usize, segment: &Segment) {
        if let Err(error) = fs::remove_file(&segment.path) {
            tracing::warn!(path = %segment.path.display(), %error, "an old file of signals cannot be removed");
        }
        self.gone[level] = self.gone[level].max(segment.time.end);
        // Without it, a start takes the first second that is there for the first there ever was, if nothing coarser says otherwise.
        let _ = fs::write(self.directory.join(format!("{}.{GONE}", NAMES[level])), self.gone[level].to_string());
    }

    /// The end of what was deleted of a level.
    pub fn gone(&self, level: usize) -> Second {
        self.gone[level]
    }

    /// Lets go of directories beyond their ceiling, those of the oldest files first, and of edges that nobody names any more. To be
    /// called now and then.
    pub fn tend(&mut self) {
        let mut listed = 0;
        for segment in self.segments.iter().flat_map(|row| row.iter().rev()) {
            let Layout::Packed(kept) = &segment.layout else { continue };
            let mut kept = kept.lock();
            listed += kept.as_ref().map_or(0, |directory| directory.edges.len());
            if listed > MOST_LISTED {
                *kept = None;
            }
        }
        self.addresses.tend();
    }

    /// Bytes of memory that directories of packed files take.
    pub fn listed_bytes(&self) -> usize {
        let weight = |segment: &Segment| match &segment.layout {
            Layout::Packed(kept) => kept.lock().as_ref().map_or(0, |directory: &Arc<Directory>| directory.weight()),
            _ => 0,
        };
        self.segments.iter().flatten().map(weight).sum()
    }
}

fn level_of(path: &Path) -> Option<usize> {
    let name = path.file_name()?.to_str()?.strip_suffix(".signals")?;
    let (level, _) = name.split_once('-')?;
    NAMES.iter().position(|known| *known == level)
}

/// What a file holds, without its signals.
fn scan(path: &Path, level: usize, found: &mut Found) -> io::Result<Option<Segment>> {
    let mut file = File::open(path)?;
    let mut magic = Vec::new();
    (&mut file).take(packed::MAGIC.len() as u64).read_to_end(&mut magic)?;
    if magic == packed::MAGIC {
        return packed::scan(path, &file, level, found).map(Some);
    }
    log::scan(path, &fs::read(path)?, level, found)
}

/// Which frames of a file are wanted.
pub struct Reading {
    pub segment: Segment,
    pub level: usize,
    pub addresses: Arc<Addresses>,
}

/// What a file turned out to be.
pub enum Opened {
    Packed(packed::Open),
    Frames(Vec<(usize, Arc<Frame>)>),
}

impl Reading {
    /// Opens the file, or reads those of its frames that `wanted` gives a step. A file that was deleted in the meantime has none.
    pub fn open(&self, wanted: &dyn Fn(Second, Second, u64) -> Option<usize>) -> Opened {
        self.try_open(wanted).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(path = %self.segment.path.display(), %error, "signals cannot be read");
            }
            Opened::Frames(Vec::new())
        })
    }

    fn try_open(&self, wanted: &dyn Fn(Second, Second, u64) -> Option<usize>) -> io::Result<Opened> {
        let mut file = File::open(&self.segment.path)?;
        let mut magic = [0; 8];
        file.read_exact(&mut magic)?;
        // It may have been packed since the segment was looked up.
        if magic == *packed::MAGIC {
            let nobody = Default::default();
            let kept = if let Layout::Packed(kept) = &self.segment.layout { kept } else { &nobody };
            return Ok(Opened::Packed(packed::Open::new(file, kept, &self.addresses)?));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(self.segment.bytes).unwrap_or_default());
        bytes.extend_from_slice(&magic);
        // What is being appended just now is no record yet, or one that is in memory too.
        file.take(self.segment.bytes.saturating_sub(magic.len() as u64)).read_to_end(&mut bytes)?;
        log::frames(&bytes, self.level, &self.addresses, wanted).map(Opened::Frames).map_err(io::Error::other)
    }
}

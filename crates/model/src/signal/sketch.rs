//! A mergeable summary of durations that answers quantiles with a relative error of at most 1 %.
//!
//! The idea is DDSketch's (Masson, Rim, Lee: "DDSketch", VLDB 2019): buckets whose width is proportional to their value, so that two
//! sketches are merged by adding counts and nothing is lost by it. The buckets are those of an HDR histogram: 64 per power of two,
//! found by shifts alone, no logarithm. A value of 64 or more lies at most half a bucket, 1/128 = 0.78 %, from its bucket's middle;
//! smaller ones are exact. Values from 2^36 on (19 hours, in microseconds) count as the last bucket.

use super::varint::{Malformed, Reader, put};
use serde::{Deserialize, Serialize};

/// Buckets per power of two, as a power of two.
const PRECISION: u32 = 6;
const PER_OCTAVE: u64 = 1 << PRECISION;
/// Values of this many bits have buckets of their own.
const BITS: u32 = 36;
/// How many buckets there can be.
pub const MOST_BUCKETS: usize = (PER_OCTAVE as usize) * (BITS - PRECISION + 1) as usize;

/// The largest relative error of [`Sketch::quantile`].
pub const RELATIVE_ERROR: f64 = 0.01;

/// Counts of values by bucket, with their exact sum and largest value. Merging two is as if one had seen all values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sketch {
    /// By ascending bucket; none is empty.
    buckets: Vec<(u16, u64)>,
    count: u64,
    sum: u64,
    max: u64,
}

fn bucket(value: u64) -> u16 {
    let value = value.min((1 << BITS) - 1);
    let number = match value < PER_OCTAVE {
        true => value,
        false => {
            let shift = value.ilog2() - PRECISION;
            PER_OCTAVE * u64::from(shift) + (value >> shift)
        }
    };
    // At most MOST_BUCKETS.
    number as u16
}

/// The smallest value of a bucket, and how many values share it.
fn span(bucket: u16) -> (u64, u64) {
    let number = u64::from(bucket);
    if number < 2 * PER_OCTAVE {
        return (number, 1);
    }
    let shift = number / PER_OCTAVE - 1;
    ((number - PER_OCTAVE * shift) << shift, 1 << shift)
}

impl Sketch {
    pub fn record(&mut self, value: u64) {
        self.record_many(value, 1);
    }

    /// The same value so many times.
    pub fn record_many(&mut self, value: u64, times: u64) {
        if times == 0 {
            return;
        }
        self.add_to_bucket(bucket(value), times);
        self.count = self.count.saturating_add(times);
        self.sum = self.sum.saturating_add(value.saturating_mul(times));
        self.max = self.max.max(value);
    }

    fn add_to_bucket(&mut self, bucket: u16, times: u64) {
        match self.buckets.binary_search_by_key(&bucket, |(number, _)| *number) {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(times),
            Err(at) => self.buckets.insert(at, (bucket, times)),
        }
    }

    /// From its buckets in their order, each by its smallest value, with the exact sum and largest value: what [`Sketch::buckets`],
    /// [`Sketch::sum`] and [`Sketch::max`] say of one.
    ///
    /// # Errors
    /// There is no such sketch.
    pub fn of(buckets: impl IntoIterator<Item = (u64, u64)>, sum: u64, max: u64) -> Result<Self, Malformed> {
        let (mut sketch, mut count) = (Self { sum, max, ..Self::default() }, 0_u64);
        for (low, times) in buckets {
            let number = bucket(low);
            let in_order = sketch.buckets.last().is_none_or(|(before, _)| *before < number);
            if times == 0 || !in_order || span(number).0 != low {
                return Err(Malformed::Value);
            }
            count = count.checked_add(times).ok_or(Malformed::TooLarge)?;
            sketch.buckets.push((number, times));
        }
        sketch.count = count;
        let fits = match sketch.buckets.last() {
            None => sum == 0 && max == 0,
            Some((last, _)) => bucket(max) == *last && sum >= max,
        };
        if fits { Ok(sketch) } else { Err(Malformed::Value) }
    }

    pub fn merge(&mut self, other: &Self) {
        if self.buckets.is_empty() {
            self.clone_from(other);
            return;
        }
        let mut from = 0;
        for (bucket, times) in &other.buckets {
            from = self.add_from(from, *bucket, *times);
        }
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// Adds to a bucket that lies at or after position `from`; where it lies.
    fn add_from(&mut self, from: usize, bucket: u16, times: u64) -> usize {
        let at = from + self.buckets[from..].iter().position(|(number, _)| *number >= bucket).unwrap_or(self.buckets.len() - from);
        match self.buckets.get_mut(at) {
            Some((number, count)) if *number == bucket => *count = count.saturating_add(times),
            _ => self.buckets.insert(at, (bucket, times)),
        }
        at
    }

    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Of all values, exact as long as it fits.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The largest value, exact; 0 without any.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// A value within [`RELATIVE_ERROR`] of the one at rank `q * (count - 1)`, rounded down; `q` from 0 to 1. `None` without values.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let last = self.count.checked_sub(1)?;
        // Counts beyond 2^53 lose digits that no quantile needs.
        let rank = ((q.clamp(0.0, 1.0) * last as f64) as u64).min(last);
        if rank == last {
            return Some(self.max as f64);
        }
        let mut seen = 0_u64;
        let holds = |(_, times): &&(u16, u64)| {
            seen = seen.saturating_add(*times);
            seen > rank
        };
        let (bucket, _) = self.buckets.iter().find(holds).or(self.buckets.last())?;
        let (low, width) = span(*bucket);
        Some((low as f64 + (width - 1) as f64 / 2.0).min(self.max as f64))
    }

    /// How many values are at most `bound`; those of the bucket that `bound` cuts count by its share.
    pub fn count_up_to(&self, bound: u64) -> u64 {
        if bound >= self.max {
            return self.count;
        }
        let counted = |(bucket, times): &(u16, u64)| match span(*bucket) {
            (low, width) if low + width - 1 <= bound => *times,
            (low, _) if low > bound => 0,
            (low, width) => (*times as f64 * (bound - low + 1) as f64 / width as f64) as u64,
        };
        self.buckets.iter().map(counted).fold(0, u64::saturating_add)
    }

    /// The counts by bucket: smallest and largest value, and how many.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        self.buckets.iter().map(|(bucket, times)| {
            let (low, width) = span(*bucket);
            (low, low + width - 1, *times)
        })
    }

    /// Appends the sketch, compactly: about two bytes per bucket.
    pub fn write(&self, out: &mut Vec<u8>) {
        put(out, self.buckets.len() as u64);
        let mut before = 0;
        for (bucket, times) in &self.buckets {
            put(out, u64::from(bucket - before));
            put(out, *times);
            before = *bucket;
        }
        put(out, self.sum);
        put(out, self.max);
    }

    /// Adds a sketch that [`Sketch::write`] wrote, without making one of it first.
    ///
    /// # Errors
    /// The bytes are no sketch. What was added until then stays: throw this one away.
    pub fn merge_written(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let mut at = 0;
        let totals = read_written(reader, |bucket, times| at = self.add_from(at, bucket, times))?;
        self.count = self.count.saturating_add(totals.count);
        self.sum = self.sum.saturating_add(totals.sum);
        self.max = self.max.max(totals.max);
        Ok(())
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + 3 * self.buckets.len());
        self.write(&mut out);
        out
    }

    /// # Errors
    /// The bytes are no sketch, or go on after it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let (mut sketch, mut reader) = (Self::default(), Reader::new(bytes));
        sketch.merge_written(&mut reader)?;
        if reader.is_empty() { Ok(sketch) } else { Err(Malformed::Value) }
    }
}

/// What stands beside the buckets of a written sketch.
struct Totals {
    count: u64,
    sum: u64,
    max: u64,
}

/// Reads a written sketch, bucket by bucket.
fn read_written(reader: &mut Reader<'_>, mut visit: impl FnMut(u16, u64)) -> Result<Totals, Malformed> {
    let length = reader.small::<usize>()?;
    if length > MOST_BUCKETS {
        return Err(Malformed::TooLarge);
    }
    let (mut number, mut count) = (0_u16, 0_u64);
    for position in 0..length {
        let step = reader.small::<u16>()?;
        number = number.checked_add(step).filter(|number| usize::from(*number) < MOST_BUCKETS).ok_or(Malformed::TooLarge)?;
        let times = reader.number()?;
        if times == 0 || (position > 0 && step == 0) {
            return Err(Malformed::Value);
        }
        count = count.checked_add(times).ok_or(Malformed::TooLarge)?;
        visit(number, times);
    }
    let (sum, max) = (reader.number()?, reader.number()?);
    let fits = if length == 0 { sum == 0 && max == 0 } else { bucket(max) == number && sum >= max };
    if fits { Ok(Totals { count, sum, max }) } else { Err(Malformed::Value) }
}

/// Adds up many written sketches: a place for each bucket there can be, so that none has to be looked for and nothing is allocated on the
/// way. Made once, used again and again.
#[derive(Clone, Debug)]
pub struct SketchSum {
    places: Box<[u64]>,
    /// A bit for each place that holds something.
    held: [u64; MOST_BUCKETS.div_ceil(64)],
    totals: Sketch,
}

impl Default for SketchSum {
    fn default() -> Self {
        Self { places: vec![0; MOST_BUCKETS].into(), held: [0; MOST_BUCKETS.div_ceil(64)], totals: Sketch::default() }
    }
}

impl SketchSum {
    /// # Errors
    /// See [`Sketch::merge_written`].
    pub fn add_written(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let (places, held) = (&mut self.places, &mut self.held);
        let totals = read_written(reader, |bucket, times| {
            let at = usize::from(bucket);
            // Below MOST_BUCKETS, as was checked.
            places[at] = places[at].saturating_add(times);
            held[at / 64] |= 1 << (at % 64);
        })?;
        self.totals.count = self.totals.count.saturating_add(totals.count);
        self.totals.sum = self.totals.sum.saturating_add(totals.sum);
        self.totals.max = self.totals.max.max(totals.max);
        Ok(())
    }

    /// The sum; the next one begins.
    pub fn take(&mut self) -> Sketch {
        let mut sketch = std::mem::take(&mut self.totals);
        sketch.buckets.reserve_exact(self.held.iter().map(|bits| bits.count_ones() as usize).sum());
        for (word, bits) in self.held.iter_mut().enumerate() {
            while *bits > 0 {
                let at = word * 64 + bits.trailing_zeros() as usize;
                // Below MOST_BUCKETS.
                sketch.buckets.push((at as u16, std::mem::take(&mut self.places[at])));
                *bits &= *bits - 1;
            }
        }
        sketch
    }
}

//! Stacks as pprof's `profile.proto` (github.com/google/pprof), compressed with gzip.

use super::Stack;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;
use taut_model::signal::varint::put;

/// Fields of `Profile`.
const SAMPLE_TYPE: u64 = 1;
const SAMPLE: u64 = 2;
const LOCATION: u64 = 4;
const FUNCTION: u64 = 5;
const STRING_TABLE: u64 = 6;
const DURATION_NANOS: u64 = 10;
const PERIOD_TYPE: u64 = 11;
const PERIOD: u64 = 12;

/// Field of the kind that is a number (protobuf wire type 0).
fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    put(out, field << 3);
    put(out, value);
}

/// Field of the kind that is bytes: text, a message, packed numbers (wire type 2).
fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    put(out, field << 3 | 2);
    put(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Texts, each once; the first is empty, as the format wants it.
struct Texts<'a> {
    numbers: HashMap<&'a str, u64>,
    all: Vec<&'a str>,
}

impl<'a> Texts<'a> {
    fn number(&mut self, text: &'a str) -> u64 {
        let next = self.all.len() as u64;
        *self.numbers.entry(text).or_insert_with(|| {
            self.all.push(text);
            next
        })
    }
}

pub fn encode(stacks: &[Stack], period: Duration, length: Duration) -> Vec<u8> {
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let mut texts = Texts { numbers: HashMap::new(), all: Vec::new() };
    texts.number("");
    let mut out = Vec::new();
    // Two values: how often, and how much time that stands for.
    for (field, [kind, unit]) in [(SAMPLE_TYPE, ["samples", "count"]), (SAMPLE_TYPE, ["cpu", "nanoseconds"]), (PERIOD_TYPE, ["cpu", "nanoseconds"])] {
        let mut value_type = Vec::new();
        number(&mut value_type, 1, texts.number(kind));
        number(&mut value_type, 2, texts.number(unit));
        bytes(&mut out, field, &value_type);
    }
    // A location stands for each function, under the same number, from 1 on.
    let mut functions: HashMap<&str, u64> = HashMap::new();
    for stack in stacks {
        let (mut sample, mut locations, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for name in &stack.functions {
            let next = functions.len() as u64 + 1;
            put(&mut locations, *functions.entry(name).or_insert(next));
        }
        put(&mut values, stack.times);
        put(&mut values, stack.times.saturating_mul(nanos(period)));
        bytes(&mut sample, 1, &locations);
        bytes(&mut sample, 2, &values);
        bytes(&mut out, SAMPLE, &sample);
    }
    let mut functions: Vec<(u64, &str)> = functions.into_iter().map(|(name, number)| (number, name)).collect();
    functions.sort_unstable();
    for (id, name) in functions {
        let (mut function, mut line, mut location) = (Vec::new(), Vec::new(), Vec::new());
        number(&mut function, 1, id);
        number(&mut function, 2, texts.number(name));
        number(&mut line, 1, id);
        number(&mut location, 1, id);
        bytes(&mut location, 4, &line);
        bytes(&mut out, FUNCTION, &function);
        bytes(&mut out, LOCATION, &location);
    }
    number(&mut out, DURATION_NANOS, nanos(length));
    number(&mut out, PERIOD, nanos(period));
    texts.all.iter().for_each(|text| bytes(&mut out, STRING_TABLE, text.as_bytes()));
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory cannot fail.
    gzip.write_all(&out).and_then(|()| gzip.finish()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;
    use taut_model::signal::varint::Reader;

    /// Fields of a message: numbers as they are, bytes as they are.
    fn fields(bytes: &[u8]) -> Vec<(u64, u64, Vec<u8>)> {
        let (mut reader, mut fields) = (Reader::new(bytes), Vec::new());
        while !reader.is_empty() {
            let tag = reader.number().unwrap();
            let value = reader.number().unwrap();
            let rest = if tag & 7 == 2 { reader.bytes(value as usize).unwrap().to_vec() } else { Vec::new() };
            fields.push((tag >> 3, value, rest));
        }
        fields
    }

    #[test]
    fn a_profile_is_what_the_format_says() {
        let stack = |names: &[&str], times| Stack { functions: names.iter().map(|name| (*name).to_owned()).collect(), times };
        let gzip = encode(&[stack(&["inner", "main"], 3), stack(&["main"], 1)], Duration::from_millis(10), Duration::from_secs(2));
        let mut bytes = Vec::new();
        GzDecoder::new(&gzip[..]).read_to_end(&mut bytes).unwrap();
        let all = fields(&bytes);
        let of = |field: u64| all.iter().filter(move |(number, ..)| *number == field);
        let texts: Vec<String> = of(STRING_TABLE).map(|(.., text)| String::from_utf8(text.clone()).unwrap()).collect();
        assert_eq!(texts, ["", "samples", "count", "cpu", "nanoseconds", "inner", "main"]);
        let samples: Vec<_> = of(SAMPLE).map(|(.., sample)| fields(sample)).collect();
        let packed = |bytes: &[u8]| {
            let (mut reader, mut numbers) = (Reader::new(bytes), Vec::new());
            while !reader.is_empty() {
                numbers.push(reader.number().unwrap());
            }
            numbers
        };
        assert_eq!((packed(&samples[0][0].2), packed(&samples[0][1].2)), (vec![1, 2], vec![3, 30_000_000]));
        assert_eq!(packed(&samples[1][0].2), [2]);
        let names: Vec<_> = of(FUNCTION).map(|(.., function)| fields(function).iter().map(|(_, value, _)| *value).collect::<Vec<_>>()).collect();
        assert_eq!(names, [[1, 5], [2, 6]]);
        assert_eq!(of(DURATION_NANOS).next().unwrap().1, 2_000_000_000);
    }
}

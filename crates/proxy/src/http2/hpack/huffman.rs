//! The Huffman code of RFC 7541 appendix B, its tables made at compile time from nothing but the lengths of its codes.

use bytes::BytesMut;

/// Bits of each byte's code. The code is canonical (within a length, codes count up with the byte), so this is all of it.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
     6, 10, 10, 12, 13,  6,  8, 11, 10, 10,  8, 11,  8,  6,  6,  6,  5,  5,  5,  6,  6,  6,  6,  6,  6,  6,  7,  8, 15,  6, 12, 10,
    13,  6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  8,  7,  8, 13, 19, 13, 14,  6,
    15,  5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,  6,  7,  6,  5,  5,  6,  7,  7,  7,  7,  7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
const SHORTEST: usize = 5;
const LONGEST: usize = 30;
/// Codes up to this length are looked up at once: all letters, digits and the usual punctuation.
const SHORT: usize = 10;

/// Each byte's code, in its lowest bits.
static CODES: [u32; 256] = codes();
/// The byte and the length of the code that these bits begin with; a length of 0 is for codes longer than [`SHORT`].
static SHORT_CODES: [(u8, u8); 1 << SHORT] = short_codes();
static LONG_CODES: LongCodes = long_codes();

/// What canonical decoding needs, by length. Codes stand at the top of their 32 bits, so that they compare like the input.
struct LongCodes {
    /// The first code of this length, and where its byte stands in `bytes`.
    first: [(u32, usize); LONGEST + 1],
    /// The end of this length's codes.
    end: [u32; LONGEST + 1],
    bytes: [u8; 256],
}

const fn codes() -> [u32; 256] {
    let mut codes = [0; 256];
    let (mut next, mut length) = (0, 1);
    while length <= LONGEST {
        next <<= 1;
        let mut byte = 0;
        while byte < 256 {
            if LENGTHS[byte] as usize == length {
                codes[byte] = next;
                next += 1;
            }
            byte += 1;
        }
        length += 1;
    }
    assert!(next == (1 << LONGEST) - 1, "the lengths leave exactly the code of EOS");
    codes
}

const fn short_codes() -> [(u8, u8); 1 << SHORT] {
    let (codes, mut short) = (codes(), [(0, 0); 1 << SHORT]);
    let mut byte = 0;
    while byte < 256 {
        let length = LENGTHS[byte] as usize;
        if length <= SHORT {
            let first = (codes[byte] as usize) << (SHORT - length);
            let mut tail = 0;
            while tail < 1 << (SHORT - length) {
                short[first + tail] = (byte as u8, length as u8);
                tail += 1;
            }
        }
        byte += 1;
    }
    short
}

const fn long_codes() -> LongCodes {
    let codes = codes();
    let mut long = LongCodes { first: [(0, 0); LONGEST + 1], end: [0; LONGEST + 1], bytes: [0; 256] };
    let (mut at, mut length) = (0, SHORTEST);
    while length <= LONGEST {
        long.end[length] = long.end[length - 1];
        let (start, mut byte) = (at, 0);
        while byte < 256 {
            if LENGTHS[byte] as usize == length {
                let code = codes[byte] << (32 - length);
                if at == start {
                    long.first[length] = (code, at);
                }
                long.end[length] = code + (1 << (32 - length));
                long.bytes[at] = byte as u8;
                at += 1;
            }
            byte += 1;
        }
        length += 1;
    }
    long
}

/// The byte and the length of a code longer than [`SHORT`] that `bits` begin with; `None` is EOS.
#[cold]
fn long_code(bits: u32) -> Option<(u8, u8)> {
    let length = (SHORT + 1..=LONGEST).find(|length| bits < LONG_CODES.end[*length])?;
    let (first, at) = LONG_CODES.first[length];
    let nth = (bits - first) >> (32 - length);
    Some((LONG_CODES.bytes[at + nth as usize], length as u8))
}

/// Most bytes that `coded` bytes can stand for.
pub fn most_decoded(coded: usize) -> usize {
    coded.saturating_mul(8) / SHORTEST
}

/// Appends what `coded` stands for.
///
/// # Errors
/// EOS is in it, or it is not padded with less than a byte of EOS's first bits (RFC 7541 section 5.2).
pub fn decode(coded: &[u8], out: &mut BytesMut) -> Result<(), &'static str> {
    let start = out.len();
    out.resize(start + most_decoded(coded.len()), 0);
    let written = decode_into(coded, &mut out[start..]);
    out.truncate(start + written.unwrap_or(0));
    written.map(|_| ())
}

fn decode_into(coded: &[u8], out: &mut [u8]) -> Result<usize, &'static str> {
    // The next bits stand at the top; below those held there are zeros.
    let (mut bits, mut held, mut rest, mut written) = (0_u64, 0_u32, coded, 0);
    loop {
        if held < 32 {
            if let Some((next, after)) = rest.split_first_chunk::<4>() {
                bits |= u64::from(u32::from_be_bytes(*next)) << (32 - held);
                held += 32;
                rest = after;
            } else if let Some((next, after)) = rest.split_first() {
                bits |= u64::from(*next) << (56 - held);
                held += 8;
                rest = after;
                continue;
            }
        }
        // As many short codes as these bits surely hold, without asking after each.
        if held >= 32
            && let Some(slots) = out.get_mut(written..).and_then(<[u8]>::first_chunk_mut::<3>)
        {
            for slot in slots {
                let (byte, length) = SHORT_CODES[(bits >> (64 - SHORT)) as usize];
                *slot = byte;
                bits <<= length;
                held -= u32::from(length);
                written += usize::from(length != 0);
            }
        }
        let mut code = SHORT_CODES[(bits >> (64 - SHORT)) as usize];
        if code.1 == 0 {
            code = long_code((bits >> 32) as u32).ok_or("a Huffman-coded string holds EOS")?;
        }
        let length = u32::from(code.1);
        if length > held {
            if rest.is_empty() {
                break;
            }
            continue;
        }
        let Some(slot) = out.get_mut(written) else { break };
        *slot = code.0;
        written += 1;
        bits <<= length;
        held -= length;
    }
    let padding = !(u64::MAX >> held);
    if held < 8 && bits == padding { Ok(written) } else { Err("a Huffman-coded string is not padded with the first bits of EOS") }
}

/// How many bytes [`encode`] makes of `text`.
pub fn encoded_length(text: &[u8]) -> usize {
    text.iter().map(|byte| usize::from(LENGTHS[usize::from(*byte)])).sum::<usize>().div_ceil(8)
}

pub fn encode(text: &[u8], out: &mut BytesMut) {
    out.reserve(encoded_length(text));
    let (mut bits, mut held) = (0_u64, 0_u32);
    for byte in text {
        let (code, length) = (CODES[usize::from(*byte)], u32::from(LENGTHS[usize::from(*byte)]));
        bits = bits << length | u64::from(code);
        held += length;
        if held >= 32 {
            held -= 32;
            out.extend_from_slice(&((bits >> held) as u32).to_be_bytes());
        }
    }
    while held >= 8 {
        held -= 8;
        out.extend_from_slice(&[(bits >> held) as u8]);
    }
    if held > 0 {
        out.extend_from_slice(&[(bits << (8 - held)) as u8 | 0xff >> held]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, &'static str> {
        let mut out = BytesMut::from(&b"before"[..]);
        decode(coded, &mut out)?;
        Ok(out[6..].to_vec())
    }

    fn coded(text: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        encode(text, &mut out);
        assert_eq!(out.len(), encoded_length(text));
        out.to_vec()
    }

    #[test]
    fn codes_are_those_of_the_appendix() {
        let some = [(b'0', 0x0), (b't', 0x9), (b' ', 0x14), (b'X', 0xfc), (b'!', 0x3f8), (b'\\', 0x7fff0), (0, 0x1ff8), (b'\n', 0x3ffffffc)];
        for (byte, code) in some {
            assert_eq!(CODES[usize::from(byte)], code, "{byte}");
        }
        assert_eq!((CODES[249], CODES[255], CODES[22]), (0xfff_fffe, 0x3ff_ffee, 0x3fff_fffe));
    }

    #[test]
    fn every_byte_after_every_other_comes_back() {
        for first in 0..=255 {
            let text: Vec<u8> = (0..=255).flat_map(|second| [first, second]).collect();
            assert_eq!(decoded(&coded(&text)), Ok(text));
        }
        for byte in 0..=255_u8 {
            assert_eq!(decoded(&coded(&[byte])), Ok(vec![byte]));
        }
        assert_eq!(decoded(b""), Ok(Vec::new()));
    }

    #[test]
    fn padding_is_the_start_of_eos_and_less_than_a_byte() {
        assert_eq!(decoded(&[0b0001_1111]), Ok(b"a".to_vec()));
        for wrong in [&[0b0001_1110][..], &[0b0001_1011], &[0b0001_1111, 0xff], &[0xff], &[0xff, 0xff, 0xff], &[0xff, 0xff, 0xff, 0xff]] {
            assert!(decoded(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xfc]), Err("a Huffman-coded string holds EOS"));
    }
}

//! Numbers and text as bytes, for what goes to disk and over the wire: LEB128, and text after its length.

/// Appends a number, seven bits per byte, the lowest first.
pub fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends text after its length.
pub fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// What bytes that should be signals are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// They end too early.
    Short,
    /// A number that is larger than it may be.
    TooLarge,
    /// Text that is no UTF-8 or too long.
    Text,
    /// A value that nothing writes: buckets out of order, a code that is not known, parts that contradict each other.
    Value,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Short => "the bytes of a signal end too early",
            Self::TooLarge => "a number in the bytes of a signal is too large",
            Self::Text => "a text in the bytes of a signal is no UTF-8 or too long",
            Self::Value => "the bytes of a signal contradict each other",
        })
    }
}
impl std::error::Error for Malformed {}

/// Takes values off the front of bytes that anybody may have made.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// How many bytes are left.
    pub fn len(&self) -> usize {
        self.left.len()
    }

    /// # Errors
    /// The bytes end early, or say more than 64 bits.
    #[inline]
    pub fn number(&mut self) -> Result<u64, Malformed> {
        // Nearly all numbers of a signal fit a byte.
        match self.left {
            [byte @ ..0x80, left @ ..] => {
                self.left = left;
                Ok(u64::from(*byte))
            }
            _ => self.long_number(),
        }
    }

    fn long_number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0_u64;
        for (position, byte) in self.left.iter().enumerate() {
            let bits = u64::from(byte & 0x7f);
            if position == 9 && *byte > 1 {
                return Err(Malformed::TooLarge);
            }
            number |= bits << (7 * position);
            if byte & 0x80 == 0 {
                self.left = &self.left[position + 1..];
                return Ok(number);
            }
        }
        Err(Malformed::Short)
    }

    /// A number that fits a smaller type.
    ///
    /// # Errors
    /// It does not, or see [`Reader::number`].
    pub fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Malformed> {
        T::try_from(self.number()?).map_err(|_| Malformed::TooLarge)
    }

    /// # Errors
    /// There are fewer.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, left) = self.left.split_at_checked(count).ok_or(Malformed::Short)?;
        self.left = left;
        Ok(taken)
    }

    /// Text after its length, at most `longest` bytes.
    ///
    /// # Errors
    /// It is longer, is no UTF-8, or ends early.
    pub fn text(&mut self, longest: usize) -> Result<&'a str, Malformed> {
        let length = self.small::<usize>()?;
        if length > longest {
            return Err(Malformed::Text);
        }
        std::str::from_utf8(self.bytes(length)?).map_err(|_| Malformed::Text)
    }
}

//! One HTTP/1 message read to its end, by the simplest means: what the tests' own client and server understand.

use std::io::{BufRead, Error, ErrorKind, Read, Result};

#[derive(Debug, Default)]
pub struct Message {
    /// The request line or status line.
    pub start: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

/// Where a body without a length ends.
#[derive(Clone, Copy, PartialEq)]
pub enum Silent {
    /// It has none: requests, and responses that have no body.
    None,
    /// With the connection.
    AtClose,
}

impl Message {
    /// The next message. `None` when the connection has ended instead.
    pub fn read(from: &mut impl BufRead, silent: Silent) -> Result<Option<Self>> {
        let Some(mut message) = Self::read_head(from)? else { return Ok(None) };
        message.read_body(from, silent)?;
        Ok(Some(message))
    }

    pub fn read_head(from: &mut impl BufRead) -> Result<Option<Self>> {
        let start = line(from)?;
        if start.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self { start, fields: fields(from)?, ..Self::default() }))
    }

    pub fn read_body(&mut self, from: &mut impl BufRead, silent: Silent) -> Result<()> {
        if self.field("transfer-encoding").is_some() {
            loop {
                let size = line(from)?;
                let size = usize::from_str_radix(&size, 16).map_err(|_| Error::new(ErrorKind::InvalidData, format!("chunk size {size:?}")))?;
                if size == 0 {
                    self.trailers = fields(from)?;
                    return Ok(());
                }
                self.take(from, size)?;
                line(from)?;
            }
        }
        match self.field("content-length").map(str::parse) {
            Some(Ok(length)) => self.take(from, length),
            Some(Err(error)) => Err(Error::new(ErrorKind::InvalidData, error)),
            None if silent == Silent::None => Ok(()),
            None => from.read_to_end(&mut self.body).map(|_| ()),
        }
    }

    fn take(&mut self, from: &mut impl BufRead, size: usize) -> Result<()> {
        let before = self.body.len();
        from.take(size as u64).read_to_end(&mut self.body)?;
        if self.body.len() == before + size { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Of a response.
    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// Of a request.
    pub fn path(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Without its end; empty at the end of the stream, too.
fn line(from: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    line.truncate(line.trim_end().len());
    Ok(line)
}

/// Names in lower case.
fn fields(from: &mut impl BufRead) -> Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let line = line(from)?;
        let Some((name, value)) = line.split_once(':') else { return Ok(fields) };
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

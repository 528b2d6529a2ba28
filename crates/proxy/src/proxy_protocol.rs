//! The PROXY protocol, versions 1 and 2 (haproxy.org, "The PROXY protocol"): how a load balancer before this proxy says who
//! its client is, and how this proxy says it to an upstream. Strict: what is not a header is refused, never guessed.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use taut_model::destination::ProxyProtocol;
use taut_wire::net::Stream;
use tokio::io::AsyncReadExt;

/// For a whole header: a load balancer writes it with its first packet.
pub const LIMIT: Duration = Duration::from_secs(5);

const V1_START: &[u8] = b"PROXY ";
/// With its line's end (section 2.1).
const V1_LONGEST: usize = 107;
/// `PROXY UNKNOWN` and the end of its line: no header of either version is shorter.
const SHORTEST: usize = 15;
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_HEAD: usize = 16;
/// Addresses and all extensions. Section 2.2 allows 64 KiB; what load balancers send fits in a fraction of this.
const V2_LONGEST: usize = 4096;
/// `PP2_TYPE_CRC32C`.
const CHECKSUM: u8 = 0x03;

/// The two ends of a client's connection: who opened it, and the address it was opened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Ends {
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

impl Ends {
    /// As a listener sees them. A connection that is not a TCP socket does not say what it was opened to.
    pub fn of(stream: &Stream, from: SocketAddr) -> Self {
        let unknown = || SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let destination = match stream {
            Stream::Tcp(stream) => stream.local_addr().unwrap_or_else(|_| unknown()),
            Stream::Other(_) => unknown(),
        };
        Self::new(from, destination)
    }

    /// An IPv4 address that a dual-stack socket shows as IPv6 is the IPv4 address.
    pub fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { source: plain(source), destination: plain(destination) }
    }
}

/// A header that is sent before anything else on a connection to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Preface {
    pub version: ProxyProtocol,
    pub ends: Ends,
}

impl Preface {
    pub fn encode(&self) -> Vec<u8> {
        let Ends { source, destination } = self.ends;
        let (from, to) = match (source.ip(), destination.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => (IpAddr::V4(from), IpAddr::V4(to)),
            // Both ends have one family: an IPv4 address is mapped (section 2.2).
            (from, to) => (mapped(from).into(), mapped(to).into()),
        };
        match self.version {
            ProxyProtocol::V1 => {
                let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
                format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
            }
            ProxyProtocol::V2 => encode_v2(from, to, source.port(), destination.port()),
        }
    }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn encode_v2(from: IpAddr, to: IpAddr, from_port: u16, to_port: u16) -> Vec<u8> {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let (family, length) = if from.is_ipv4() { (0x11, 12_u16) } else { (0x21, 36) };
    let mut header = V2_START.to_vec();
    header.extend([0x21, family]);
    header.extend(length.to_be_bytes());
    header.extend(octets(from));
    header.extend(octets(to));
    header.extend(from_port.to_be_bytes());
    header.extend(to_port.to_be_bytes());
    header
}

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAHeader(&'static str);

impl fmt::Display for NotAHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
impl std::error::Error for NotAHeader {}

/// What the first bytes of a connection hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At least so many more bytes belong to the header.
    Needs(usize),
    Header {
        /// In bytes; what follows is not the header's.
        length: usize,
        /// `None`: the load balancer speaks for itself (a health check), or does not know its client's address.
        ends: Option<Ends>,
    },
}

/// Reads the beginning of a connection.
///
/// # Errors
/// It cannot become a header, whatever follows.
pub fn read(bytes: &[u8]) -> Result<Start, NotAHeader> {
    match bytes {
        [] => Ok(Start::Needs(SHORTEST)),
        _ if begins(bytes, V1_START) => read_v1(bytes),
        _ if begins(bytes, V2_START) => read_v2(bytes),
        _ => Err(NotAHeader("the connection does not begin with a PROXY protocol header")),
    }
}

/// Whether `bytes` are the beginning of `start`, or begin with it.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    let both = bytes.len().min(start.len());
    bytes[..both] == start[..both]
}

fn read_v1(bytes: &[u8]) -> Result<Start, NotAHeader> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        let least = if bytes.last() == Some(&b'\r') { 1 } else { 2 };
        return match bytes.len() + least > V1_LONGEST {
            true => Err(NotAHeader("the PROXY protocol line is longer than 107 bytes")),
            false => Ok(Start::Needs(least.max(SHORTEST.saturating_sub(bytes.len())))),
        };
    };
    let length = end + 1;
    let line = bytes[..end].strip_suffix(b"\r").filter(|_| length <= V1_LONGEST);
    let line = line.and_then(|line| std::str::from_utf8(line).ok()).ok_or(NotAHeader("the PROXY protocol line does not end with CRLF in time"))?;
    let words: Vec<&str> = line.split(' ').collect();
    let ends = match words[..] {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", "TCP4", from, to, from_port, to_port] => Some(pair::<Ipv4Addr>(from, to, from_port, to_port)),
        ["PROXY", "TCP6", from, to, from_port, to_port] => Some(pair::<Ipv6Addr>(from, to, from_port, to_port)),
        _ => Some(None),
    };
    match ends {
        Some(None) => Err(NotAHeader("the PROXY protocol line is not PROXY TCP4|TCP6 SOURCE DESTINATION PORT PORT")),
        ends => Ok(Start::Header { length, ends: ends.flatten() }),
    }
}

fn pair<A: std::str::FromStr + Into<IpAddr>>(from: &str, to: &str, from_port: &str, to_port: &str) -> Option<Ends> {
    let address = |text: &str| text.parse::<A>().ok().map(Into::into);
    Some(Ends::new(SocketAddr::new(address(from)?, port(from_port)?), SocketAddr::new(address(to)?, port(to_port)?)))
}

/// Decimal, without a sign and without leading zeroes (section 2.1).
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

fn read_v2(bytes: &[u8]) -> Result<Start, NotAHeader> {
    let head = bytes.get(V2_START.len()..V2_HEAD);
    let Some(&[version_and_command, family, high, low]) = head else { return Ok(Start::Needs(V2_HEAD - bytes.len())) };
    let length = V2_HEAD + usize::from(u16::from_be_bytes([high, low]));
    if length > V2_LONGEST {
        return Err(NotAHeader("the PROXY protocol header is longer than 4 KiB"));
    }
    let local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(NotAHeader("the PROXY protocol header is of a version or command that does not exist")),
    };
    let Some(rest) = bytes.get(V2_HEAD..length) else { return Ok(Start::Needs(length - bytes.len())) };
    // Section 2.2: what a local connection says about itself is skipped, and so is a family that is not specified.
    if local || family == 0x00 {
        return Ok(Start::Header { length, ends: None });
    }
    let addresses = match family {
        0x11 => 12,
        0x21 => 36,
        // A client on a Unix socket of the load balancer has no address that policies could speak of.
        0x31 => 216,
        _ => return Err(NotAHeader("the PROXY protocol header is not about a stream of TCP over IPv4 or IPv6")),
    };
    let Some((addresses, extensions)) = rest.split_at_checked(addresses) else {
        return Err(NotAHeader("the PROXY protocol header is shorter than its addresses"));
    };
    check_extensions(&bytes[..length], extensions)?;
    Ok(Start::Header { length, ends: addresses_v2(addresses) })
}

/// `None` for a Unix socket's.
fn addresses_v2(bytes: &[u8]) -> Option<Ends> {
    let ends = |from: IpAddr, to: IpAddr, ports: [u8; 4]| {
        let [a, b, c, d] = ports;
        Ends::new(SocketAddr::new(from, u16::from_be_bytes([a, b])), SocketAddr::new(to, u16::from_be_bytes([c, d])))
    };
    if let Ok(bytes) = <[u8; 12]>::try_from(bytes) {
        let [a, b, c, d, e, f, g, h, ports @ ..] = bytes;
        return Some(ends(Ipv4Addr::new(a, b, c, d).into(), Ipv4Addr::new(e, f, g, h).into(), ports));
    }
    let (from, rest) = bytes.split_first_chunk::<16>()?;
    let (to, ports) = rest.split_first_chunk::<16>()?;
    Some(ends(Ipv6Addr::from(*from).into(), Ipv6Addr::from(*to).into(), ports.try_into().ok()?))
}

/// Extensions are a list of type, length and value (section 2.2.1) that must fill the header; only the checksum says something here.
fn check_extensions(header: &[u8], mut extensions: &[u8]) -> Result<(), NotAHeader> {
    const BROKEN: NotAHeader = NotAHeader("the PROXY protocol header's extensions do not fit into it");
    while let [kind, high, low, rest @ ..] = extensions {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, next) = rest.split_at_checked(length).ok_or(BROKEN)?;
        if *kind == CHECKSUM {
            let said = <[u8; 4]>::try_from(value).map_err(|_| BROKEN)?;
            // Section 2.2.4: computed with the field itself at zero.
            let at = header.len() - next.len() - said.len();
            let bytes = header.iter().enumerate().map(|(index, byte)| if (at..at + said.len()).contains(&index) { 0 } else { *byte });
            if crc32c(bytes) != u32::from_be_bytes(said) {
                return Err(NotAHeader("the PROXY protocol header does not fit its checksum"));
            }
        }
        extensions = next;
    }
    if extensions.is_empty() { Ok(()) } else { Err(BROKEN) }
}

/// RFC 4960, appendix B. Bit by bit: a header is short, and one with a checksum rare.
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    !bytes.fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 }))
}

/// Takes the header that a connection must begin with, and not a byte more. `None`: it ended before it said anything, as a health
/// check of its port does.
///
/// # Errors
/// No header came, or it broke off.
pub async fn take(stream: &mut Stream) -> io::Result<Option<Option<Ends>>> {
    let mut header: Vec<u8> = Vec::with_capacity(V1_LONGEST);
    loop {
        let needs = match read(&header).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
            Start::Header { ends, .. } => return Ok(Some(ends)),
            Start::Needs(needs) => needs,
        };
        let read = (&mut *stream).take(needs as u64).read_buf(&mut header).await?;
        match (read, header.is_empty()) {
            (0, true) => return Ok(None),
            (0, false) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended inside its PROXY protocol header")),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;

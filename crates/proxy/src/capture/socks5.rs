//! SOCKS5 (RFC 1928): CONNECT by name or address, without authentication, since only the application beside us gets here.

use crate::fault::{Fault, Kind};
use crate::io::Io;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const NO_ACCEPTABLE_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;

/// Section 6, "Replies".
mod code {
    pub const SUCCEEDED: u8 = 0;
    pub const GENERAL_FAILURE: u8 = 1;
    pub const NOT_ALLOWED: u8 = 2;
    pub const HOST_UNREACHABLE: u8 = 4;
    pub const REFUSED: u8 = 5;
    pub const COMMAND_NOT_SUPPORTED: u8 = 7;
    pub const ADDRESS_NOT_SUPPORTED: u8 = 8;
}

/// Reads a request up to its destination. The answer is [`reply`]'s, except where there is none to go to.
pub async fn destination(io: &mut Io) -> io::Result<(String, u16)> {
    let [version, methods] = read(io).await?;
    let mut offered = [0; 255];
    let offered = &mut offered[..usize::from(methods)];
    io.read_exact(offered).await?;
    if version != VERSION || !offered.contains(&NO_AUTHENTICATION) {
        io.write_all(&[VERSION, NO_ACCEPTABLE_METHOD]).await?;
        return Err(invalid("the client offers no SOCKS5 without authentication"));
    }
    io.write_all(&[VERSION, NO_AUTHENTICATION]).await?;
    io.flush().await?;

    let [version, command, _reserved, kind] = read(io).await?;
    let host = match kind {
        1 => Ipv4Addr::from(read::<4>(io).await?).to_string(),
        4 => Ipv6Addr::from(read::<16>(io).await?).to_string(),
        3 => {
            let [length] = read(io).await?;
            let mut name = vec![0; usize::from(length)];
            io.read_exact(&mut name).await?;
            String::from_utf8(name).map_err(|_| invalid("the destination's name is not text"))?
        }
        _ => return refuse(io, code::ADDRESS_NOT_SUPPORTED, "the address type is not one of RFC 1928").await,
    };
    let port = u16::from_be_bytes(read(io).await?);
    match (version, command) {
        (VERSION, CONNECT) if !host.is_empty() => Ok((host, port)),
        (VERSION, CONNECT) => refuse(io, code::HOST_UNREACHABLE, "the destination's name is empty").await,
        _ => refuse(io, code::COMMAND_NOT_SUPPORTED, "only CONNECT is supported").await,
    }
}

/// Tells the client whether it may go on.
pub async fn reply(io: &mut Io, fault: Option<&Fault>) -> io::Result<()> {
    let code = match fault.map(|fault| &fault.kind) {
        None => code::SUCCEEDED,
        Some(Kind::Refused { status: 403, .. } | Kind::PeerRefused { status: 403, .. }) => code::NOT_ALLOWED,
        Some(Kind::Refused { .. } | Kind::NameNotFound | Kind::NoEndpoint | Kind::ConnectTimedOut | Kind::NotLearned) => code::HOST_UNREACHABLE,
        Some(Kind::ConnectFailed) => code::REFUSED,
        Some(_) => code::GENERAL_FAILURE,
    };
    // The bound address is not the application's business: IPv4, all zeros, as most servers say.
    io.write_all(&[VERSION, code, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    io.flush().await
}

async fn refuse<T>(io: &mut Io, code: u8, why: &'static str) -> io::Result<T> {
    io.write_all(&[VERSION, code, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    io.flush().await?;
    Err(invalid(why))
}

async fn read<const N: usize>(io: &mut Io) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    io.read_exact(&mut bytes).await?;
    Ok(bytes)
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use taut_wire::net::Stream;
    use tokio::io::duplex;

    /// What the client reads back, and where it got.
    async fn talk(client_says: &[u8]) -> (io::Result<(String, u16)>, Vec<u8>) {
        let (mut client, server) = duplex(1024);
        client.write_all(client_says).await.unwrap();
        let mut io = Io::from(Stream::Other(Box::pin(server)));
        let destination = destination(&mut io).await;
        drop(io);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        (destination, answer)
    }

    #[tokio::test]
    async fn destinations_are_names_or_addresses() {
        for (request, host) in [
            (&b"\x05\x01\x00\x05\x01\x00\x03\x07reviews\x23\x78"[..], "reviews"),
            (b"\x05\x02\x02\x00\x05\x01\x00\x01\x0a\x00\x00\x01\x23\x78", "10.0.0.1"),
            (b"\x05\x01\x00\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x23\x78", "::1"),
        ] {
            let (destination, answer) = talk(request).await;
            assert_eq!((destination.unwrap(), &answer[..]), ((host.to_owned(), 9080), &b"\x05\x00"[..]));
        }
    }

    #[tokio::test]
    async fn what_is_not_supported_is_said_in_the_protocol() {
        for (request, answer_ends) in [
            (&b"\x05\x01\x02"[..], &b"\x05\xff"[..]),
            (b"\x05\x01\x00\x05\x02\x00\x01\x0a\x00\x00\x01\x23\x78", b"\x05\x07\0\x01\0\0\0\0\0\0"),
            (b"\x05\x01\x00\x05\x01\x00\x09", b"\x05\x08\0\x01\0\0\0\0\0\0"),
            (b"\x05\x01\x00\x05\x01\x00\x03\x00\x23\x78", b"\x05\x04\0\x01\0\0\0\0\0\0"),
        ] {
            let (destination, answer) = talk(request).await;
            assert!(destination.is_err() && answer.ends_with(answer_ends), "{request:?} {answer:?}");
        }
    }
}

//! Listens for who speaks first on a connection that stands, without taking a byte away. What that teaches is `learned`'s.

use super::sniff::{self, Opening};
use crate::io::Io;
use crate::learned::FirstWord;
use std::time::Duration;

/// A greeting comes at once. What a server says later may be about the client's silence.
const GREETING: Duration = Duration::from_secs(2);
/// What is read at once: more than it takes to tell, so that what was said is passed on in one piece.
const ENOUGH: usize = 1024;

/// Listens to both sides of a connection on which nothing has been said. What is heard stays to be read.
pub async fn listen(client: &mut Io, upstream: &mut Io) -> FirstWord {
    let said = |bytes: &[u8]| !bytes.is_empty();
    let word = async {
        tokio::select! {
            biased;
            heard = client.peek(ENOUGH, said) => match heard.ok().and_then(sniff::tell) {
                Some(Opening::Http1 | Opening::Http2) => FirstWord::Http,
                _ => FirstWord::Other,
            },
            heard = upstream.peek(ENOUGH, said) => match heard {
                Ok(bytes) if is_greeting(bytes) => FirstWord::Greeting,
                _ => FirstWord::Other,
            },
        }
    };
    // What fails here fails again when the bytes are carried.
    tokio::time::timeout(GREETING, word).await.unwrap_or(FirstWord::Other)
}

/// Whether a server's first bytes, unasked for, are those of a server-first protocol. Some that wait for their clients speak all
/// the same: HTTP/1 servers answer 408 to silence, HTTP/2 servers send SETTINGS at once, TLS servers an alert.
fn is_greeting(bytes: &[u8]) -> bool {
    let starts = |start: &[u8]| start.iter().zip(bytes).all(|(want, byte)| want == byte);
    let settings = match bytes {
        // RFC 9113 section 4.1: length, type 4, flags, stream 0.
        [_, _, _, kind, flags, stream @ ..] => *kind == 4 && *flags <= 1 && stream.iter().take(4).all(|byte| *byte == 0),
        _ => bytes.first() == Some(&0),
    };
    !bytes.is_empty() && !starts(b"HTTP/") && !settings && !matches!(bytes, [0x15 | 0x16] | [0x15 | 0x16, 0x03, ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use taut_wire::net::Stream;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    #[test]
    fn servers_that_wait_for_clients_do_not_greet() {
        for (bytes, want) in [
            (&b"220 mail.example.com ESMTP\r\n"[..], true),
            (b"SSH-2.0-OpenSSH_9.6\r\n", true),
            // MySQL: a packet of 74 bytes, protocol 10.
            (b"\x4a\0\0\0\x0a8.0.36\0", true),
            (b"RFB 003.008\n", true),
            (b"HTTP/1.1 408 Request Timeout\r\n", false),
            (b"H", false),
            (b"\0\0\x12\x04\0\0\0\0\0\0\x03", false),
            (b"\0\0\0\x04\x01\0\0\0\0", false),
            (b"\0\0", false),
            (b"\x15\x03\x01\0\x02\x01", false),
            (b"", false),
        ] {
            assert_eq!(is_greeting(bytes), want, "{bytes:?}");
        }
    }

    fn side() -> (DuplexStream, Io) {
        let (far, near) = duplex(1024);
        (far, Io::from(Stream::Other(Box::pin(near))))
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_word_is_heard_and_stays_to_be_read() {
        for (client_says, server_says, want) in [
            (&b""[..], &b"220 ready\r\n"[..], FirstWord::Greeting),
            (b"GET / HTTP/1.1\r\n", b"", FirstWord::Http),
            (b"GET / HTTP/1.1\r\n", b"220 ready\r\n", FirstWord::Http),
            (b"*1\r\n$4\r\nPING\r\n", b"", FirstWord::Other),
            (b"", b"", FirstWord::Other),
        ] {
            let ((mut client_far, mut client), (mut server_far, mut server)) = (side(), side());
            client_far.write_all(client_says).await.unwrap();
            server_far.write_all(server_says).await.unwrap();
            assert_eq!(listen(&mut client, &mut server).await, want);
            drop((client_far, server_far));
            for (io, said) in [(&mut client, client_says), (&mut server, server_says)] {
                let mut read = Vec::new();
                io.read_to_end(&mut read).await.unwrap();
                assert_eq!(read, said);
            }
        }
    }
}

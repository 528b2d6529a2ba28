//! Messages over a Unix socket: JSON with its length in front, and the open sockets that go with it (`SCM_RIGHTS`, unix(7)).

use bytes::{Buf, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// The kernel passes at most 253 with one call (`SCM_MAX_FD`).
const SOCKETS_AT_ONCE: usize = 250;
/// Of one message, so that a confused peer cannot fill the memory.
const LONGEST: usize = 16 << 20;
const MOST_SOCKETS: usize = 10_000;
/// Length of the text and number of sockets, four bytes each.
const HEAD: usize = 8;

/// One end of the talk between a proxy and its successor.
pub struct Line {
    stream: UnixStream,
    received: BytesMut,
    sockets: VecDeque<OwnedFd>,
}

impl Line {
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, received: BytesMut::new(), sockets: VecDeque::new() }
    }

    /// The other process's user and id, as the kernel says it.
    pub fn peer(&self) -> io::Result<tokio::net::unix::UCred> {
        self.stream.peer_cred()
    }

    /// Not to be cancelled: a message that is half sent ends the talk.
    pub async fn say(&self, message: &impl Serialize, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let size = |length: usize| u32::try_from(length).map_err(|_| too_large());
        let mut bytes = Vec::with_capacity(HEAD + text.len() + 1);
        bytes.extend_from_slice(&size(text.len())?.to_be_bytes());
        bytes.extend_from_slice(&size(sockets.len())?.to_be_bytes());
        self.send(&bytes, &[]).await?;
        for some in sockets.chunks(SOCKETS_AT_ONCE) {
            // Sockets travel with at least one byte.
            self.send(&[0], some).await?;
        }
        self.send(&text, &[]).await
    }

    async fn send(&self, mut bytes: &[u8], mut sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = self.stream.async_io(Interest::WRITABLE, || system::send(&self.stream, bytes, sockets)).await?;
            bytes = bytes.get(sent..).unwrap_or_default();
            // They went with the first byte.
            sockets = &[];
        }
        Ok(())
    }

    /// The next message and its sockets; `None` when the other process has closed the line or is gone. Cancel-safe.
    pub async fn hear<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        loop {
            if let Some((text, sockets)) = self.whole()? {
                return Ok(Some((serde_json::from_slice(&text)?, sockets)));
            }
            let (received, sockets) = (&mut self.received, &mut self.sockets);
            let stream = &self.stream;
            let count = stream.async_io(Interest::READABLE, || system::receive(stream, received, sockets)).await;
            match count {
                Ok(0) if self.received.is_empty() => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// The first message of what was received, when it is there as a whole.
    fn whole(&mut self) -> io::Result<Option<(BytesMut, Vec<OwnedFd>)>> {
        let Some((&[a, b, c, d, e, f, g, h], _)) = self.received.split_first_chunk::<HEAD>() else { return Ok(None) };
        let (length, count) = (u32::from_be_bytes([a, b, c, d]) as usize, u32::from_be_bytes([e, f, g, h]) as usize);
        if length > LONGEST || count > MOST_SOCKETS {
            return Err(too_large());
        }
        let carriers = count.div_ceil(SOCKETS_AT_ONCE);
        if self.received.len() < HEAD + carriers + length {
            return Ok(None);
        }
        if self.sockets.len() < count {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{count} sockets were announced and {} came", self.sockets.len())));
        }
        self.received.advance(HEAD + carriers);
        Ok(Some((self.received.split_to(length), self.sockets.drain(..count).collect())))
    }
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the message is too large")
}

#[cfg(target_os = "linux")]
mod system {
    use super::SOCKETS_AT_ONCE;
    use bytes::BytesMut;
    use rustix::net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    };
    use std::collections::VecDeque;
    use std::io::{self, IoSlice, IoSliceMut};
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

    pub fn send(to: &impl AsFd, bytes: &[u8], sockets: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_AT_ONCE))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets)) {
            return Err(super::too_large());
        }
        Ok(sendmsg(to, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
    }

    pub fn receive(from: &impl AsFd, bytes: &mut BytesMut, sockets: &mut VecDeque<OwnedFd>) -> io::Result<usize> {
        let mut some = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_AT_ONCE))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = recvmsg(from, &mut [IoSliceMut::new(&mut some)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(passed) = message {
                sockets.extend(passed);
            }
        }
        if got.flags.contains(ReturnFlags::CTRUNC) {
            return Err(io::Error::other("sockets were lost: the limit on open files is too low for a second proxy's (ulimit -n)"));
        }
        bytes.extend_from_slice(some.get(..got.bytes).unwrap_or_default());
        Ok(got.bytes)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use bytes::BytesMut;
    use std::collections::VecDeque;
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

    pub fn send(_: &impl AsFd, _: &[u8], _: &[BorrowedFd<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn receive(_: &impl AsFd, _: &mut BytesMut, _: &mut VecDeque<OwnedFd>) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

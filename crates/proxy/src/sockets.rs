//! Listening sockets on their way to another thread or process, whose runtime must take them up itself.

use crate::listen::Listeners;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use taut_wire::net::Listener;

/// Those of one proxy.
pub struct Sockets {
    outbound: Option<std::net::TcpListener>,
    upstreams: Vec<(std::net::TcpListener, String, u16)>,
    peer: std::net::TcpListener,
    exposed: Option<std::net::TcpListener>,
}

impl Sockets {
    pub fn share(of: &Listeners) -> io::Result<Self> {
        let upstreams = of.upstreams.iter().map(|(listener, host, port)| Ok((share(listener)?, host.clone(), *port)));
        Ok(Self {
            outbound: of.outbound.as_ref().map(share).transpose()?,
            upstreams: upstreams.collect::<io::Result<_>>()?,
            peer: share(&of.peer)?,
            exposed: of.exposed.as_ref().map(share).transpose()?,
        })
    }

    pub fn listeners(self) -> io::Result<Listeners> {
        let upstreams = self.upstreams.into_iter().map(|(socket, host, port)| Ok((take_up(socket)?, host, port)));
        Ok(Listeners {
            upstreams: upstreams.collect::<io::Result<_>>()?,
            outbound: self.outbound.map(take_up).transpose()?,
            peer: take_up(self.peer)?,
            exposed: self.exposed.map(take_up).transpose()?,
        })
    }
}

pub fn share(listener: &Listener) -> io::Result<std::net::TcpListener> {
    match listener {
        Listener::Tcp(listener) => Ok(listener.as_fd().try_clone_to_owned()?.into()),
        Listener::Other(_) => Err(io::Error::new(ErrorKind::Unsupported, "only TCP sockets can be shared between threads")),
    }
}

pub fn take_up(socket: std::net::TcpListener) -> io::Result<Listener> {
    tokio::net::TcpListener::from_std(socket).map(Listener::Tcp)
}

//! The TCP server behind the proxies. The first byte of a connection says what is wanted: `e` an echo, `d` bytes without end, `u` a sink
//! that ends when the client does.

use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CHUNK: usize = 256 * 1024;

pub fn run(listen: SocketAddr) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| format!("cannot start tokio: {error}"))?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
        accept(listener).await
    })
}

async fn accept(listener: TcpListener) -> ! {
    loop {
        // A client that is gone before it is accepted concerns nobody else.
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    }
}

/// Errors are the client's way to end; it does the counting.
async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    match stream.read_u8().await? {
        b'e' => {
            stream.write_all(b"e").await?;
            let mut rest = [0; 64];
            while stream.read(&mut rest).await? > 0 {}
        }
        b'd' => {
            let zeros = vec![0; CHUNK];
            loop {
                stream.write_all(&zeros).await?;
            }
        }
        _ => {
            let mut sink = vec![0; CHUNK];
            while stream.read(&mut sink).await? > 0 {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Direction, bulk, connect};
    use std::time::Duration;

    /// A server on a thread of its own, which ends with the test's process.
    fn server() -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                listener.set_nonblocking(true).unwrap();
                accept(TcpListener::from_std(listener).unwrap()).await
            })
        });
        address
    }

    #[test]
    fn connections_are_counted_and_so_are_those_that_fail() {
        let figures = connect::run(server(), Duration::from_millis(50), 2).unwrap();
        assert!(figures["connections"].as_u64().unwrap() > 0);
        assert_eq!(figures["failed"], 0);
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(connect::run(nobody, Duration::from_millis(5), 1).is_err());
    }

    #[test]
    fn bytes_flow_both_ways() {
        let server = server();
        for direction in [Direction::Down, Direction::Up] {
            let figures = bulk::run(server, Duration::from_millis(50), direction).unwrap();
            assert!(figures["bytes"].as_u64().unwrap() > 0, "{figures}");
        }
    }
}

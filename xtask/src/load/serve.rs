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
        loop {
            // A client that is gone before it is accepted concerns nobody else.
            if let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        }
    })
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

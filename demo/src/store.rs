//! `store`: a line protocol over TCP, so that the mesh carries something that is not HTTP. `GET <book>` answers
//! `<stars> <stars>`; anything else answers `ERR`.

use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// No honest line is longer.
const LINE: u64 = 256;

pub async fn serve(address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address).await.map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {address}: {e}")))?;
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            // The peer hung up: nothing is left to do for it.
            let _ = converse(stream).await;
        });
    }
}

async fn converse(mut stream: TcpStream) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read);
    let mut line = String::new();
    loop {
        line.clear();
        if (&mut read).take(LINE).read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let answer = match line.trim_end().strip_prefix("GET ").and_then(|book| book.parse::<u32>().ok()) {
            Some(book) => format!("{} {}\n", 5 - book % 2, 4 - book % 2),
            None => "ERR say: GET <book>\n".to_owned(),
        };
        write.write_all(answer.as_bytes()).await?;
    }
}

//! `store`: a line protocol over TCP, so that the mesh carries something that is not HTTP. `GET <book>` answers
//! `<stars> <stars>`; anything else answers `ERR`.

use crate::trouble::{Fate, Faults};
use http::HeaderMap;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// No honest line is longer.
const LINE: u64 = 256;

/// Serves until it cannot listen; stops to listen while its faults say so.
pub async fn serve(address: SocketAddr, faults: &Faults) -> io::Result<()> {
    loop {
        faults.refuses(false).await;
        let listener = TcpListener::bind(address).await.map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {address}: {e}")))?;
        tokio::select! {
            biased;
            () = faults.refuses(true) => {}
            () = accept(&listener, faults) => {}
        }
    }
}

async fn accept(listener: &TcpListener, faults: &Faults) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let faults = faults.clone();
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            // When the peer hung up, nothing is left to do for it.
            tokio::select! {
                biased;
                () = faults.refuses(true) => {}
                _ = converse(stream, &faults) => {}
            }
        });
    }
}

async fn converse(mut stream: TcpStream, faults: &Faults) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read);
    let mut line = String::new();
    loop {
        line.clear();
        if (&mut read).take(LINE).read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let (fate, _place) = faults.suffer(&HeaderMap::new(), line.trim_end()).await;
        if !matches!(fate, Fate::Served { .. }) {
            return Ok(());
        }
        let answer = match line.trim_end().strip_prefix("GET ").and_then(|book| book.parse::<u32>().ok()) {
            Some(book) => format!("{} {}\n", 5 - book % 2, 4 - book % 2),
            None => "ERR say: GET <book>\n".to_owned(),
        };
        write.write_all(answer.as_bytes()).await?;
    }
}

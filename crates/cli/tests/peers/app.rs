//! An application that speaks HTTP/1.1 by the letter and does, path by path, what a proxy may stumble over.

use crate::message::{Message, Silent};
use std::io::{BufReader, Read, Result, Write};
use std::net::{Shutdown, TcpStream};

/// As large as `/early` ever reads of an upload.
const NOT_READ: usize = 1024;

/// Serves one connection.
pub fn serve(stream: TcpStream) {
    // A peer that leaves in the middle is part of the tests.
    let _ = serve_all(stream);
}

fn serve_all(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    let mut from = BufReader::new(stream);
    while let Some(mut request) = Message::read_head(&mut from)? {
        let path = request.path().to_owned();
        match path.as_str() {
            "/early" => return early(&mut from, &mut out),
            "/echo" => echo(&mut request, &mut from, &mut out)?,
            _ => {
                request.read_body(&mut from, Silent::None)?;
                if !answer(&path, &request, &mut out)? {
                    return out.shutdown(Shutdown::Both);
                }
            }
        }
    }
    Ok(())
}

/// `false`: the connection ends with the response.
fn answer(path: &str, request: &Message, out: &mut TcpStream) -> Result<bool> {
    let head_only = request.start.starts_with("HEAD ");
    match path {
        "/204" => out.write_all(b"HTTP/1.1 204 No Content\r\nx-kept: 1\r\n\r\n")?,
        "/304" => out.write_all(b"HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\ncontent-length: 1000\r\n\r\n")?,
        "/close" => {
            out.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nends with the connection")?;
            return Ok(false);
        }
        "/old" => {
            out.write_all(b"HTTP/1.0 200 OK\r\n\r\nan old server")?;
            return Ok(false);
        }
        "/trailers" => {
            out.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n3\r\nabc\r\n")?;
            out.write_all(b"2;ext=1\r\nde\r\n0\r\nx-sum: 5\r\n\r\n")?;
        }
        "/cut" => {
            out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly a part")?;
            return Ok(false);
        }
        "/cut-chunks" => {
            out.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")?;
            return Ok(false);
        }
        "/interim" => out.write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?,
        "/large" => {
            let size = 50 << 20;
            write!(out, "HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n")?;
            if !head_only {
                write_pattern(out, size)?;
            }
        }
        _ => {
            let text = format!("{}\n{:?}\n", request.start, request.fields);
            write!(out, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}", text.len(), if head_only { "" } else { &text })?;
        }
    }
    Ok(true)
}

/// Bytes that tell where they belong.
pub fn pattern(size: usize) -> Vec<u8> {
    (0..size / 4).flat_map(|at| (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()).collect()
}

fn write_pattern(out: &mut TcpStream, size: usize) -> Result<()> {
    out.write_all(&pattern(size))
}

/// Sends back what comes, framed as it came, trailers included, after `100 Continue` when that is waited for.
fn echo(request: &mut Message, from: &mut BufReader<TcpStream>, out: &mut TcpStream) -> Result<()> {
    if request.field("expect").is_some() {
        out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    request.read_body(from, Silent::None)?;
    let Message { body, trailers, .. } = &*request;
    if request.field("transfer-encoding").is_none() {
        write!(out, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len())?;
        return out.write_all(body);
    }
    write!(out, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
    for piece in body.chunks(100_000) {
        write!(out, "{:x}\r\n", piece.len())?;
        out.write_all(piece)?;
        out.write_all(b"\r\n")?;
    }
    out.write_all(b"0\r\n")?;
    for (name, value) in trailers {
        write!(out, "{name}: {value}\r\n")?;
    }
    out.write_all(b"\r\n")
}

/// Answers before it has read the upload, most of which it never does.
fn early(from: &mut BufReader<TcpStream>, out: &mut TcpStream) -> Result<()> {
    from.read_exact(&mut [0; NOT_READ])?;
    out.write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 9\r\nconnection: close\r\n\r\ntoo large")?;
    out.shutdown(Shutdown::Write)?;
    // Closing on unread bytes would reset the connection, and the answer with it.
    std::io::copy(from, &mut std::io::sink()).map(|_| ())
}

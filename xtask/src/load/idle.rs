//! Connections that have carried one request each and stay open.

use super::http::Client;
use serde_json::json;
use std::io::Read;
use std::net::SocketAddr;

/// Prints one line when all are there; ends when standard input does.
pub fn run(to: SocketAddr, count: usize) -> Result<(), String> {
    let mut held = Vec::with_capacity(count);
    for number in 0..count {
        let mut client = Client::connect(to)?;
        client.exchange().map_err(|why| format!("connection {number} to {to}: {why}"))?;
        held.push(client);
    }
    println!("{}", json!({ "held": held.len() }));
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(())
}

//! `ratings`: stars by reviewer, from the store, over one TCP connection that is kept and made anew when it breaks.

use crate::app::App;
use crate::server::{Answer, Call, Service, book, json};
use http::{Method, StatusCode};
use serde_json::json;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

pub struct Ratings {
    version: String,
    store: String,
    connection: Mutex<Option<BufReader<TcpStream>>>,
    /// What users posted, by book; lost with the process, as in Bookinfo.
    posted: Mutex<BTreeMap<u32, [u32; 2]>>,
}

impl Ratings {
    pub fn new(app: &App) -> Arc<Self> {
        let (connection, posted) = (Mutex::new(None), Mutex::default());
        Arc::new(Self { version: app.version.clone(), store: app.upstreams.store.clone(), connection, posted })
    }

    async fn stars(&self, book: u32) -> io::Result<[u32; 2]> {
        if let Some(stars) = self.posted.lock().await.get(&book) {
            return Ok(*stars);
        }
        let mut held = self.connection.lock().await;
        // A kept connection may have been closed by the other side since: one fresh try.
        if let Some(mut connection) = held.take()
            && let Ok(stars) = ask(&mut connection, book).await
        {
            *held = Some(connection);
            return Ok(stars);
        }
        let stream = TcpStream::connect(&self.store).await?;
        stream.set_nodelay(true)?;
        let mut connection = BufReader::new(stream);
        let stars = ask(&mut connection, book).await?;
        *held = Some(connection);
        Ok(stars)
    }
}

async fn ask(connection: &mut BufReader<TcpStream>, book: u32) -> io::Result<[u32; 2]> {
    connection.get_mut().write_all(format!("GET {book}\n").as_bytes()).await?;
    let mut line = String::new();
    if connection.read_line(&mut line).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut stars = line.split_whitespace().map(str::parse::<u32>);
    match (stars.next(), stars.next()) {
        (Some(Ok(first)), Some(Ok(second))) => Ok([first, second]),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("the store answered {line:?}"))),
    }
}

impl Service for Ratings {
    async fn answer(&self, call: Call) -> Answer {
        let Some(id) = book(&call.path, "/ratings/") else {
            return json(StatusCode::BAD_REQUEST, &json!({ "error": "please provide numeric product id" }));
        };
        if call.method == Method::POST {
            let Ok(stars) = serde_json::from_slice::<BTreeMap<String, u32>>(&call.body) else {
                return json(StatusCode::BAD_REQUEST, &json!({ "error": "please provide valid ratings JSON" }));
            };
            let of = |reviewer: &str| stars.get(reviewer).copied().unwrap_or(0).min(5);
            self.posted.lock().await.insert(id, [of("Reviewer1"), of("Reviewer2")]);
        }
        let asked = tokio::time::timeout(Duration::from_secs(5), self.stars(id)).await;
        match asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok([first, second]) => {
                json(StatusCode::OK, &json!({ "id": id, "served_by": self.version, "ratings": { "Reviewer1": first, "Reviewer2": second } }))
            }
            Err(error) => json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": format!("the store at {}: {error}", self.store) })),
        }
    }
}

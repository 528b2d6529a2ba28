//! Clients that keep going and count: requests over HTTP/1.1 and HTTP/2, and TCP connections that are kept open; and what they talk to.

use crate::support::{Connection, PATIENCE, eventually};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// One round of a client may take this long before it counts as failed.
const ROUND: Duration = Duration::from_secs(10);
/// Rounds that every client makes before something else is done to the mesh.
const ROUNDS: u64 = 20;

/// Does one round after the other until it is told to stop, or cannot go on.
pub trait Client: Send {
    /// Another one of the same kind.
    fn another(&self) -> Box<dyn Client>;
    /// One request, or one message and its echo. `Err` ends a client that lives by its connection.
    fn round(&mut self) -> Result<(), String>;
    /// Whether it goes on after a failed round.
    fn starts_again(&self) -> bool;
    /// Between two rounds. A steady load, not a full one: the machine has other things to do.
    fn pause(&self) -> Duration {
        Duration::from_millis(2)
    }
}

struct Kind {
    name: &'static str,
    rounds: u64,
    clients: Vec<Arc<Count>>,
    kept: bool,
}

#[derive(Default)]
struct Count {
    rounds: AtomicU64,
    failed: AtomicU64,
    last: std::sync::Mutex<String>,
}

pub struct Load {
    kinds: Vec<Kind>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Load {
    pub fn start(kinds: &[(&'static str, usize, Box<dyn Client>)]) -> Self {
        let mut load = Self { kinds: Vec::new(), threads: Vec::new(), stop: Arc::default() };
        for (name, clients, client) in kinds {
            let counts: Vec<Arc<Count>> = (0..*clients).map(|_| Arc::default()).collect();
            for count in &counts {
                let (mut client, count, stop) = (client.another(), count.clone(), load.stop.clone());
                load.threads.push(std::thread::spawn(move || work(&mut *client, &count, &stop)));
            }
            let rounds = if client.pause() > Duration::from_millis(10) { 2 } else { ROUNDS };
            load.kinds.push(Kind { name, rounds, clients: counts, kept: !client.starts_again() });
        }
        load
    }

    /// Every client has gone some rounds further.
    pub fn settle(&self) {
        let all = || self.kinds.iter().flat_map(|kind| kind.clients.iter().map(|client| (client.rounds.load(Relaxed), kind.rounds)));
        let before: Vec<(u64, u64)> = all().collect();
        eventually(PATIENCE, "every client goes on", || {
            let stuck = all().zip(&before).position(|((now, _), (before, rounds))| now < before + rounds);
            match stuck {
                // Once any has failed, the counts tell.
                Some(client) if self.counts().failed() == 0 => Err(format!("client {client} of\n{}", self.counts())),
                _ => Ok(()),
            }
        });
    }

    fn counts(&self) -> Counts {
        let sum = |kind: &Kind, of: fn(&Count) -> &AtomicU64| kind.clients.iter().map(|client| of(client).load(Relaxed)).sum();
        let count = |kind: &Kind| KindCount {
            name: kind.name,
            connections: kind.kept.then_some(kind.clients.len()),
            rounds: sum(kind, |count| &count.rounds),
            failed: sum(kind, |count| &count.failed),
            why: kind.clients.iter().map(|client| client.last.lock().unwrap().clone()).find(|why| !why.is_empty()).unwrap_or_default(),
        };
        Counts(self.kinds.iter().map(count).collect())
    }

    /// Waits until every client has ended by itself.
    pub fn ends(self) -> Counts {
        eventually(PATIENCE, "the clients end", || match self.threads.iter().all(JoinHandle::is_finished) {
            true => Ok(()),
            false => Err(self.counts().to_string()),
        });
        self.stop()
    }

    pub fn stop(self) -> Counts {
        self.stop.store(true, Relaxed);
        let counts = self.counts();
        for thread in self.threads {
            thread.join().unwrap();
        }
        counts
    }
}

fn work(client: &mut dyn Client, count: &Count, stop: &AtomicBool) {
    while !stop.load(Relaxed) {
        match client.round() {
            Ok(()) => {
                count.rounds.fetch_add(1, Relaxed);
            }
            Err(_) if stop.load(Relaxed) => return,
            Err(why) => {
                count.failed.fetch_add(1, Relaxed);
                *count.last.lock().unwrap() = why;
                if !client.starts_again() {
                    return;
                }
            }
        }
        std::thread::park_timeout(client.pause());
    }
}

struct KindCount {
    name: &'static str,
    /// That were to be kept.
    connections: Option<usize>,
    rounds: u64,
    failed: u64,
    why: String,
}

pub struct Counts(Vec<KindCount>);

impl Counts {
    /// Requests and echoes of all kinds whose name begins so.
    pub fn rounds(&self, name: &str) -> u64 {
        self.0.iter().filter(|kind| kind.name.starts_with(name)).map(|kind| kind.rounds).sum()
    }

    pub fn failed(&self) -> u64 {
        self.0.iter().map(|kind| kind.failed).sum()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<44} {:>18} {:>8}  connections kept / lost", "", "requests or echoes", "failed")?;
        for kind in &self.0 {
            let kept = kind.connections.map_or("-".to_owned(), |all| format!("{} / {}", all as u64 - kind.failed, kind.failed));
            writeln!(f, "{:<44} {:>18} {:>8}  {kept} {}", kind.name, kind.rounds, kind.failed, kind.why)?;
        }
        Ok(())
    }
}

/// GET and POST in turn. A connection is left only when the answer says that it closes.
pub struct Http1 {
    outbound: String,
    host: String,
    keep: bool,
    pause: Pause,
    connection: Option<Connection>,
    turn: u64,
}

/// How long a client waits between two rounds.
#[derive(Clone, Copy)]
enum Pause {
    Always(Duration),
    /// So that a round begins every so often from a time on, however long the rounds take.
    Every(Duration, Instant),
}

impl Http1 {
    pub fn kept(outbound: &str, host: &str) -> Self {
        Self {
            outbound: outbound.to_owned(),
            host: host.to_owned(),
            keep: true,
            pause: Pause::Always(Duration::from_millis(2)),
            connection: None,
            turn: 0,
        }
    }

    pub fn fresh(outbound: &str, host: &str) -> Self {
        Self { keep: false, ..Self::kept(outbound, host) }
    }

    /// Kept, and idle most of the time.
    pub fn idle(outbound: &str, host: &str) -> Self {
        Self { pause: Pause::Always(Duration::from_millis(300)), ..Self::kept(outbound, host) }
    }

    /// Kept, one request in each span of time.
    pub fn paced(outbound: &str, host: &str, every: Duration) -> Self {
        Self { pause: Pause::Every(every, Instant::now()), ..Self::kept(outbound, host) }
    }

    fn request(&mut self) -> io::Result<u16> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.outbound)?,
        };
        self.turn += 1;
        let (method, body) = if self.turn.is_multiple_of(2) { ("POST", "a body") } else { ("GET", "") };
        let reply = connection.exchange(method, &format!("http://{}/", self.host), &self.host, &[], body)?;
        if self.keep && reply.header("connection") != Some("close") {
            self.connection = Some(connection);
        }
        Ok(reply.status)
    }
}

impl Client for Http1 {
    fn another(&self) -> Box<dyn Client> {
        Box::new(Self { outbound: self.outbound.clone(), host: self.host.clone(), connection: None, ..*self })
    }

    fn round(&mut self) -> Result<(), String> {
        match self.request() {
            Ok(200) => Ok(()),
            other => Err(format!("request {}: {other:?}", self.turn)),
        }
    }

    fn pause(&self) -> Duration {
        match self.pause {
            Pause::Always(pause) => pause,
            Pause::Every(every, from) => (from + every.mul_f64(self.turn as f64)).saturating_duration_since(Instant::now()),
        }
    }

    fn starts_again(&self) -> bool {
        true
    }
}

/// POST on a kept connection, which is left when the server says that it takes no more streams.
pub struct Http2 {
    outbound: String,
    host: String,
    runtime: tokio::runtime::Runtime,
    sender: Option<hyper::client::conn::http2::SendRequest<Full<Bytes>>>,
}

impl Http2 {
    pub fn new(outbound: &str, host: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { outbound: outbound.to_owned(), host: host.to_owned(), runtime, sender: None }
    }
}

async fn http2(outbound: &str) -> Result<hyper::client::conn::http2::SendRequest<Full<Bytes>>, String> {
    let stream = tokio::net::TcpStream::connect(outbound).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}

impl Client for Http2 {
    fn another(&self) -> Box<dyn Client> {
        Box::new(Self::new(&self.outbound, &self.host))
    }

    fn round(&mut self) -> Result<(), String> {
        let (outbound, uri, sender) = (&self.outbound, format!("http://{}/", self.host), &mut self.sender);
        let round = async move {
            let mut request = Request::post(&uri).body(Full::from("a body")).unwrap();
            loop {
                let mut open = match sender.take() {
                    Some(open) if !open.is_closed() => open,
                    _ => http2(outbound).await?,
                };
                match open.try_send_request(request).await {
                    Ok(response) => {
                        let status = response.status();
                        response.into_body().collect().await.map_err(|error| error.to_string())?;
                        *sender = Some(open);
                        return if status == 200 { Ok(()) } else { Err(format!("status {status}")) };
                    }
                    // The connection was ending, and the request has not left this client (RFC 9113, 6.8).
                    Err(mut unsent) => match unsent.take_message() {
                        Some(same) => request = same,
                        None => return Err(format!("{:?}", unsent.into_error())),
                    },
                }
            }
        };
        self.runtime.block_on(async { tokio::time::timeout(ROUND, round).await.unwrap_or_else(|_| Err("no answer".to_owned())) })
    }

    fn starts_again(&self) -> bool {
        true
    }
}

/// Numbers and their echoes on one connection that is never opened again.
pub struct Ping {
    address: String,
    /// Times that a number is said in one message.
    copies: usize,
    pause: Duration,
    stream: Option<TcpStream>,
    next: u64,
}

impl Ping {
    pub fn new(address: &str) -> Self {
        Self { address: address.to_owned(), copies: 1, pause: Duration::from_millis(2), stream: None, next: 0 }
    }

    /// A connection that lives long and says little.
    pub fn seldom(address: &str) -> Self {
        Self { pause: Duration::from_millis(500), ..Self::new(address) }
    }

    /// In messages of half a megabyte, so that bytes are on their way at any moment.
    pub fn bulk(address: &str) -> Self {
        Self { copies: 64 << 10, ..Self::new(address) }
    }

    fn echo(&mut self, open: impl FnOnce(&str) -> io::Result<TcpStream>) -> io::Result<bool> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => self.stream.insert(open(&self.address)?),
        };
        self.next += 1;
        let message = self.next.to_be_bytes().repeat(self.copies);
        stream.write_all(&message)?;
        let mut echo = vec![0; message.len()];
        stream.read_exact(&mut echo)?;
        Ok(echo == message)
    }

    fn judge(&self, echoed: io::Result<bool>) -> Result<(), String> {
        match echoed {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("the echo of {} is wrong", self.next)),
            Err(error) => Err(format!("after {} echoes: {error}", self.next)),
        }
    }
}

fn open(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ROUND))?;
    Ok(stream)
}

impl Client for Ping {
    fn another(&self) -> Box<dyn Client> {
        Box::new(Self { copies: self.copies, pause: self.pause, ..Self::new(&self.address) })
    }

    fn pause(&self) -> Duration {
        self.pause
    }

    fn round(&mut self) -> Result<(), String> {
        let echoed = self.echo(open);
        self.judge(echoed)
    }

    fn starts_again(&self) -> bool {
        false
    }
}

/// The same, by way of a SOCKS5 proxy.
pub struct Socks {
    ping: Ping,
    to: SocketAddr,
}

impl Socks {
    pub fn new(proxy: &str, to: &SocketAddr) -> Self {
        Self { ping: Ping::new(proxy), to: *to }
    }
}

impl Client for Socks {
    fn another(&self) -> Box<dyn Client> {
        Box::new(Self::new(&self.ping.address, &self.to))
    }

    fn round(&mut self) -> Result<(), String> {
        let to = self.to;
        let echoed = self.ping.echo(|proxy| {
            let mut stream = open(proxy)?;
            let SocketAddr::V4(to) = to else { return Err(io::ErrorKind::Unsupported.into()) };
            // RFC 1928: no authentication; connect to an IPv4 address.
            stream.write_all(&[5, 1, 0])?;
            stream.write_all(&[&[5, 1, 0, 1][..], &to.ip().octets(), &to.port().to_be_bytes()].concat())?;
            let mut answer = [0; 12];
            stream.read_exact(&mut answer)?;
            if answer[3] == 0 { Ok(stream) } else { Err(io::Error::other(format!("SOCKS5 answers {}", answer[3]))) }
        });
        self.ping.judge(echoed)
    }

    fn starts_again(&self) -> bool {
        false
    }
}

/// What the clients talk to: 7000 echoes, 8081 speaks HTTP/1, 8082 HTTP/2; and an echo outside the mesh.
pub struct Apps {
    pub outside: SocketAddr,
}

impl Apps {
    pub fn start(inside: &str, outside: &str) -> Self {
        echo(TcpListener::bind((inside, 7000)).unwrap());
        let outside = TcpListener::bind((outside, 7001)).unwrap();
        let address = outside.local_addr().unwrap();
        echo(outside);
        let bind = |port| TcpListener::bind((inside, port)).unwrap();
        let (http1, http2) = (bind(8081), bind(8082));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { tokio::join!(serve(http1, false), serve(http2, true)) });
        });
        Self { outside: address }
    }
}

fn echo(listener: TcpListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let _ = stream.set_nodelay(true);
                let _ = io::copy(&mut &stream, &mut &stream);
            });
        }
    });
}

async fn serve(listener: TcpListener, http2: bool) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        tokio::spawn(async move {
            let stream = TokioIo::new(stream);
            // A client that breaks off is its own affair.
            match http2 {
                true => drop(hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service_fn(answer)).await),
                false => drop(hyper::server::conn::http1::Builder::new().serve_connection(stream, service_fn(answer)).await),
            }
        });
    }
}

/// `/hang` is never answered, `/slow` only after most of the second that a probe may take.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    match request.uri().path() {
        "/hang" => std::future::pending::<()>().await,
        "/slow" => drop(tokio::time::timeout(Duration::from_millis(900), std::future::pending::<()>()).await),
        _ => {}
    }
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Ok(Response::new(Full::new(body)))
}

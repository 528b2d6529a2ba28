//! Responses compressed by the proxy of the workload that answers, over sockets.

use super::*;
use flate2::read::GzDecoder;
use http_body_util::StreamBody;
use hyper::body::Frame;
use std::io::Read;
use taut_model::settings::{Compression, MeshSettings};
use tokio::sync::mpsc;

fn compressing(snapshot: &mut Snapshot) {
    let compression = Compression { selector: BTreeMap::new(), content_types: vec!["text/*".to_owned()], min_length: 100 };
    snapshot.settings.insert("mesh".to_owned(), Arc::new(MeshSettings { compression: Some(compression), ..MeshSettings::default() }));
}

async fn compressed(app: SocketAddr, protocol: AppProtocol) -> Pair {
    let mut pair = Pair::new(app, protocol).await;
    pair.mesh.change = Some(compressing);
    pair.server.pin(&pair.mesh);
    pair.client.pin(&pair.mesh);
    pair
}

const LONG: &str = "All happy families are alike; each unhappy family is unhappy in its own way. ";

fn text(times: usize) -> String {
    LONG.repeat(times)
}

/// Answers with the headers of the query, `name=value`, and 77 bytes as often as the path says.
async fn bookshop() -> SocketAddr {
    app(|request| async move {
        let times = request.uri().path().trim_start_matches('/').parse().unwrap_or(0);
        let mut response = Response::builder().header("content-type", "text/plain").header("accept-ranges", "bytes");
        for (name, value) in request.uri().query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')) {
            response = match name {
                "status" => response.status(value.parse::<u16>().unwrap()),
                name => response.header(name, value.replace("%22", "\"")),
            };
        }
        response.body(Full::from(text(times))).unwrap()
    })
    .await
}

/// The head in lower case, and the body.
async fn ask(to: SocketAddr, path: &str, headers: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    // HTTP/1.0, so that the body is what comes until the end.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: reviews:9080\r\n{headers}\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    (String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase(), answer.split_off(end))
}

fn unpacked(body: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(body).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn who_takes_gzip_gets_it_and_the_head_says_so() {
    run(async {
        let pair = compressed(bookshop().await, AppProtocol::Http).await;
        let (head, body) = ask(pair.client.outbound, "/1000?etag=%22a%22", "Accept-Encoding: br, gzip\r\n").await;
        assert_eq!(unpacked(&body), text(1000));
        assert!(body.len() < 10_000, "{}", body.len());
        for said in ["content-encoding: gzip\r\n", "vary: accept-encoding\r\n", "etag: w/\"a\"\r\n"] {
            assert!(head.contains(said), "{head}");
        }
        assert!(!head.contains("content-length: 77000") && !head.contains("accept-ranges"), "{head}");
        let record = eventually(|| pair.server.exchanges().pop()).await;
        assert_eq!(record.response_bytes, body.len() as u64);
        let (head, body) = ask(pair.client.outbound, "/1000?etag=%22a%22", "").await;
        assert_eq!(String::from_utf8(body).unwrap(), text(1000));
        for said in ["vary: accept-encoding\r\n", "etag: \"a\"\r\n", "accept-ranges: bytes\r\n"] {
            assert!(head.contains(said), "{head}");
        }
        assert!(!head.contains("content-encoding"), "{head}");
    });
}

#[test]
fn what_must_stay_as_it_is_does() {
    run(async {
        let pair = compressed(bookshop().await, AppProtocol::Http).await;
        let gzip = "Accept-Encoding: gzip\r\n";
        for (path, headers) in [
            ("/1", gzip),
            ("/0", gzip),
            ("/10?content-encoding=br", gzip),
            ("/10?cache-control=no-transform", gzip),
            ("/10?status=206", gzip),
            ("/10?content-digest=x", gzip),
            ("/10", "Accept-Encoding: gzip;q=0, br\r\n"),
            ("/10", "Accept-Encoding: gzip\r\nRange: bytes=0-1\r\n"),
        ] {
            let (head, body) = ask(pair.client.outbound, path, headers).await;
            let times: usize = path[1..].split('?').next().unwrap().parse().unwrap();
            assert_eq!(String::from_utf8_lossy(&body), text(times), "{path} {head}");
            assert!(!head.contains("content-encoding: gzip"), "{path} {head}");
        }
        let (head, _) = ask(pair.client.outbound, "/0?status=304&etag=%22a%22", gzip).await;
        assert!(head.contains("vary: accept-encoding") && head.contains("etag: \"a\"") && !head.contains("content-encoding"), "{head}");
        // A workload that is not chosen compresses nothing.
        let mut mesh = pair.mesh.clone();
        mesh.change = Some(|snapshot| {
            compressing(snapshot);
            let mut settings = (*snapshot.settings["mesh"]).clone();
            settings.compression.as_mut().unwrap().selector.insert("app".to_owned(), "details".to_owned());
            snapshot.settings.insert("mesh".to_owned(), Arc::new(settings));
        });
        pair.server.pin(&mesh);
        let (head, _) = ask(pair.client.outbound, "/10", gzip).await;
        assert!(!head.contains("content-encoding") && !head.contains("vary"), "{head}");
    });
}

/// What is said is heard before there is more, whole and with its trailers.
#[test]
fn a_stream_does_not_wait_for_more() {
    run(async {
        let (say, said) = mpsc::unbounded_channel::<Frame<Bytes>>();
        let said = Rc::new(RefCell::new(Some(said)));
        let listener = TcpListener::bind(LOCAL).await.unwrap();
        let app = listener.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(move |_| {
                let mut said = said.borrow_mut().take().unwrap();
                let frames = futures_util::stream::poll_fn(move |cx| said.poll_recv(cx).map(|frame| frame.map(Ok::<_, Infallible>)));
                let response = Response::builder().header("content-type", "text/plain").body(StreamBody::new(frames)).unwrap();
                async move { Ok::<_, Infallible>(response) }
            });
            let _ = hyper::server::conn::http2::Builder::new(LocalExecutor).serve_connection(TokioIo::new(stream), service).await;
        });
        let pair = compressed(app, AppProtocol::Http2).await;
        let mut client = http2(pair.client.outbound).await;
        let request = Request::get("http://reviews:9080/").header("accept-encoding", "gzip").body(Full::<Bytes>::default()).unwrap();
        say.send(Frame::data(Bytes::from_static(b"first"))).unwrap();
        let mut response = client.send_request(request).await.unwrap();
        assert_eq!(response.headers()["content-encoding"], "gzip");
        let (mut body, mut trailers) = (Vec::new(), None);
        let so_far = |body: &[u8]| {
            let mut text = Vec::new();
            let mut decoder = flate2::read::GzDecoder::new(body);
            let mut buffer = [0; 64];
            while let Ok(read @ 1..) = decoder.read(&mut buffer) {
                text.extend_from_slice(&buffer[..read]);
            }
            String::from_utf8(text).unwrap()
        };
        while so_far(&body) != "first" {
            body.extend(response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap());
        }
        say.send(Frame::data(Bytes::from_static(b", second"))).unwrap();
        say.send(Frame::trailers(::http::HeaderMap::from_iter([(::http::HeaderName::from_static("x-end"), ::http::HeaderValue::from_static("1"))])))
            .unwrap();
        drop(say);
        while let Some(frame) = response.body_mut().frame().await {
            match frame.unwrap().into_data() {
                Ok(data) => body.extend(data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        assert_eq!(unpacked(&body), "first, second");
        assert_eq!(trailers.unwrap()["x-end"], "1");
    });
}

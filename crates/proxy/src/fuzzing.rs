//! What fuzzers feed: one function for each parser that reads a peer's bytes, which panics when the parser breaks its promise.
//!
//! `fuzz/` holds a program per function, and a corpus that the test below replays, so that `make test` covers it without a
//! fuzzer. To add a parser: a function here, its line in [`TARGETS`], `fuzz/fuzz_targets/<name>.rs` with its `[[bin]]`, and
//! some inputs in `fuzz/corpus/<name>/`. This module is public for `fuzz/` alone; no program calls it.

use crate::capture::late::FirstLine;
use crate::capture::{sniff, socks5};
use crate::facts::split_authority;
use crate::http1::fuzzing as http1;
use crate::http2::fuzzing as http2;
use crate::io::Io;
use crate::proxy_protocol::{self, Preface, Start};
use crate::tls::{self, Hello, hello};
use crate::trust::Shown;
use crate::{authorizer, metadata, renewal, token, trace, workload_api};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue};
use rustls_pki_types::CertificateDer;
use std::io::Cursor;
use taut_model::destination::ProxyProtocol;
use taut_model::identity::Identity;
use taut_model::read;
use taut_observe::text::Id;
use taut_wire::net::Stream;
use taut_wire::resource::{self, ResourceType};

type Target = fn(&[u8]);

/// Name of the target, as in `fuzz/`, and its function.
pub const TARGETS: &[(&str, Target)] = &[
    ("authority", authority),
    ("authorizer", authorizer),
    ("certificate", certificate),
    ("client_hello", client_hello),
    ("hpack", hpack),
    ("http1_body", http1_body),
    ("http1_request", http1_request),
    ("http1_response", http1_response),
    ("http2_connection", http2_connection),
    ("http2_frame", http2_frame),
    ("introduction", introduction),
    ("opening", opening),
    ("path", path),
    ("proxy_protocol", proxy_protocol),
    ("resource", resource),
    ("socks5", socks5),
    ("token", token),
    ("traceparent", traceparent),
    ("workload_api", workload_api),
    ("yaml", yaml),
];

/// `Host`, `:authority` and CONNECT's target.
pub fn authority(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (host, port) = split_authority(text, 80);
    assert!(host.len() <= 255 && !host.contains(['/', '@', '?', '#', ' ']), "{host:?} is taken for a host");
    if !host.is_empty() {
        // What is dialled and looked up must be what a reader of the same name elsewhere finds.
        let written = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        assert_eq!(split_authority(&written, 1), (host, port), "{text:?} changes when it is written again");
    }
}

/// The answer of an authorizer.
pub fn authorizer(bytes: &[u8]) {
    authorizer::fuzz(bytes);
}

/// A peer's certificate, as every reader of one takes it.
pub fn certificate(bytes: &[u8]) {
    let certificate = CertificateDer::from(bytes.to_vec());
    let identity = tls::identity_of(&certificate).ok();
    let shown = Shown::of(std::slice::from_ref(&certificate));
    if let Some(identity) = &identity {
        assert_eq!(Identity::parse(&identity.to_string()).as_ref(), Ok(identity), "an identity reads differently when it is written");
        assert_eq!(shown.trust_domain(), Some(identity.trust_domain.as_str()), "two readers find two trust domains");
    }
    if let Some(read) = renewal::identity_in(&certificate) {
        // Another parser may take less, and must not find somebody else.
        assert!(identity.is_none_or(|identity| identity == read), "two parsers find two identities");
    }
}

/// The ClientHello of a TLS connection that is passed through.
pub fn client_hello(bytes: &[u8]) {
    let whole = hello(bytes);
    for end in [bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let part = hello(&bytes[..end]);
        assert!(part == Hello::Incomplete || part == whole, "{part:?} becomes {whole:?} when more is read");
    }
}

/// Field blocks of HTTP/2, one after another on a connection.
pub fn hpack(bytes: &[u8]) {
    http2::hpack(bytes);
}

/// The chunked coding, in any pieces.
pub fn http1_body(bytes: &[u8]) {
    let whole = http1::decode_chunked(bytes, bytes.len().max(1));
    for step in [1, 3, 17] {
        assert_eq!(http1::decode_chunked(bytes, step), whole, "a body reads differently in pieces of {step}");
    }
    if let Some((data, trailers, _)) = whole {
        let written = http1::encode_chunked(&data, trailers.as_ref());
        let again = http1::decode_chunked(&written, written.len());
        assert!(again.is_some_and(|(again, _, left)| again == data && left == 0), "what is passed on is another body");
    }
}

/// A request's head: read in any pieces alike, and passed on as one that reads alike.
pub fn http1_request(bytes: &[u8]) {
    let whole = http1::read_request(bytes, bytes.len().max(1));
    for step in [1, 7] {
        let pieces = http1::read_request(bytes, step);
        assert_eq!(pieces, whole, "a head reads differently in pieces of {step}");
    }
    if let Some(told) = whole.filter(|told| !told.is_full) {
        assert_eq!(
            http1::read_request(&told.written, told.written.len()).map(|again| again.what),
            Some(told.what),
            "what is passed on is another request"
        );
    }
}

/// A response's head.
pub fn http1_response(bytes: &[u8]) {
    let whole = http1::read_response(bytes, bytes.len().max(1));
    for step in [1, 7] {
        assert_eq!(http1::read_response(bytes, step), whole, "a head reads differently in pieces of {step}");
    }
}

/// A connection of HTTP/2, from its greeting to its end.
pub fn http2_connection(bytes: &[u8]) {
    http2::http2_connection(bytes);
}

/// Frames of HTTP/2, in any pieces.
pub fn http2_frame(bytes: &[u8]) {
    http2::http2_frame(bytes);
}

/// A JSON Web Token, or the set of keys that it is verified with.
pub fn token(bytes: &[u8]) {
    token::fuzz(bytes);
}

/// How a peer's proxy names its workload.
pub fn introduction(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(party) = metadata::parse(text) {
        assert!(!party.workload.is_empty() && !party.namespace.contains('/') && party.principal == "unknown");
    }
}

/// What is spoken on a connection: the same, however the bytes arrive.
pub fn opening(bytes: &[u8]) {
    let whole = sniff::tell(bytes);
    if let Some(told) = (0..bytes.len()).find_map(|end| sniff::tell(&bytes[..end])) {
        assert_eq!(whole, Some(told), "the answer changes when more is read");
    }
    let at_once = FirstLine::default().ends_as_http(bytes);
    let mut line = FirstLine::default();
    assert_eq!(bytes.chunks(3).any(|chunk| line.ends_as_http(chunk)), at_once, "HTTP is found only in some pieces");
}

/// A request's path, before policies are held against it.
pub fn path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let once = taut_plan::normalise(text);
    assert_eq!(taut_plan::normalise(&once), once, "normalising twice changes more");
    if once.starts_with('/') {
        assert!(!once.split('/').any(|segment| matches!(segment, "." | "..")), "{once:?} holds dot segments");
    }
    taut_plan::undotted(text);
}

/// The header that a load balancer begins a connection with.
pub fn proxy_protocol(bytes: &[u8]) {
    let Ok(Start::Header { length, ends }) = proxy_protocol::read(bytes) else { return };
    for end in 0..length {
        match proxy_protocol::read(&bytes[..end]) {
            Ok(Start::Needs(needs)) => assert!(needs > 0 && end + needs <= length, "after {end} of {length} bytes it asks for {needs}"),
            other => panic!("{end} of {length} bytes are {other:?}"),
        }
    }
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let Some(ends) = ends else { return };
        let written = Preface { version, ends }.encode();
        assert_eq!(proxy_protocol::read(&written), Ok(Start::Header { length: written.len(), ends: Some(ends) }));
    }
}

/// What the control plane and a proxy tell each other; the first byte chooses the type.
pub fn resource(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let types = ResourceType::all();
    let of_type = types[usize::from(*choice) % types.len()];
    if let Ok(read) = resource::decode(of_type, bytes) {
        let written = resource::encode(&read);
        // Bytes, since a number that is not one equals nothing.
        let again = resource::decode(of_type, &written).map(|again| resource::encode(&again));
        assert_eq!(again, Ok(written), "it changes when it is written again");
    }
}

/// An application's SOCKS5 request, all of it at once and then nothing more.
pub fn socks5(bytes: &[u8]) {
    let stream = tokio::io::join(Cursor::new(bytes.to_vec()), tokio::io::sink());
    let mut io = Io::from(Stream::Other(Box::pin(stream)));
    match socks5::destination(&mut io).now_or_never() {
        Some(Ok((host, _))) => assert!(!host.is_empty(), "an empty destination is taken"),
        Some(Err(_)) => {}
        None => panic!("it waits for more after the end"),
    }
}

/// W3C trace context and the request's id.
pub fn traceparent(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let mut dice = fastrand::Rng::with_seed(1);
    let mut headers = HeaderMap::from_iter([(trace::TRACEPARENT.clone(), value.clone()), (trace::REQUEST_ID.clone(), value)]);
    let (request, trail) = trace::begin(&mut headers, &mut dice, None);
    let (request, id) = (request.to_string(), Id::Trace(trail.trace).to_string());
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id:?} is not a trace id");
    assert!(headers.get(&trace::TRACEPARENT).and_then(|parent| parent.to_str().ok()).is_some_and(|parent| parent.contains(&*id)));
    assert!(request.bytes().all(|byte| byte.is_ascii_graphic()), "{request:?} breaks a log's line");
}

/// What a caller of the Workload API sends.
pub fn workload_api(bytes: &[u8]) {
    workload_api::fuzz(bytes);
}

/// Resources as users write them.
pub fn yaml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let reading = read::yaml(text, "fuzz.yaml");
    for problem in &reading.problems {
        assert!(!problem.to_string().is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::TARGETS;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    fn fuzz() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
    }

    fn names(directory: &str) -> BTreeSet<String> {
        let entries = fs::read_dir(fuzz().join(directory)).unwrap();
        entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    }

    /// Of the programs that feed this crate's parsers.
    fn programs() -> BTreeSet<String> {
        let ours = |name: &String| fs::read_to_string(fuzz().join("fuzz_targets").join(name).with_extension("rs")).unwrap().contains("taut_proxy::");
        names("fuzz_targets").into_iter().filter(ours).collect()
    }

    #[test]
    fn every_target_has_a_program_and_a_corpus() {
        let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(targets, programs());
        assert_eq!(names("fuzz_targets"), names("corpus"));
    }

    #[test]
    fn the_kept_corpus_does_no_harm() {
        for (name, target) in TARGETS {
            let inputs: Vec<PathBuf> = fs::read_dir(fuzz().join("corpus").join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
            assert!(!inputs.is_empty(), "{name} has no corpus");
            for input in inputs {
                let bytes = fs::read(&input).unwrap();
                let outcome = std::panic::catch_unwind(|| target(&bytes));
                assert!(outcome.is_ok(), "{} breaks {name}", input.display());
            }
        }
    }

    /// Fuzzers are not everywhere, so a little of what they do is done here: every kept input, cut and altered.
    #[test]
    fn near_misses_of_the_kept_corpus_do_no_harm() {
        let mut dice = fastrand::Rng::with_seed(7);
        for (name, target) in TARGETS {
            for input in fs::read_dir(fuzz().join("corpus").join(name)).unwrap() {
                let kept = fs::read(input.unwrap().path()).unwrap();
                for _ in 0..50 {
                    let mut bytes = kept[..dice.usize(0..=kept.len())].to_vec();
                    if !bytes.is_empty() {
                        let at = dice.usize(..bytes.len());
                        bytes[at] = dice.u8(..);
                    }
                    assert!(std::panic::catch_unwind(|| target(&bytes)).is_ok(), "{bytes:?} breaks {name}");
                }
            }
        }
    }
}

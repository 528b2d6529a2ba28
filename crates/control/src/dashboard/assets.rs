//! The pages' files, as they were built into the program.

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode, header};
use std::fmt;

/// One file of `dashboard/dist`.
#[derive(Clone, Copy)]
pub struct Asset {
    /// Without a slash before it: `assets/index-4fe1a2.js`.
    pub path: &'static str,
    pub bytes: &'static [u8],
    /// The same compressed, where that is smaller.
    pub gzip: Option<&'static [u8]>,
}

impl fmt::Debug for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path)
    }
}

/// All of them; none in a program that was built without the dashboard.
pub type Assets = &'static [Asset];

const INDEX: &str = "index.html";
/// What Vite puts here has its content's hash in its name.
const HASHED: &str = "assets/";

const MISSING: &str = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Tautline</title>\n<h1>This build of taut has no dashboard</h1>\n\
    <p>Build it with <code>make dashboard</code>, which needs Node.js 20 or newer, then build taut again.</p>\n\
    <p>Everything that the dashboard shows is in the command line too: <code>taut status</code>, <code>taut changes</code>, <code>taut plan</code>, \
    <code>taut why</code>.</p>\n</html>\n";

/// The file that a path names; any path of a page is the one page there is.
pub fn answer(assets: Assets, request: &Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response();
    }
    let path = request.uri().path().trim_start_matches('/');
    let named = |path: &str| assets.iter().find(|asset| asset.path == path);
    let is_file = path.rsplit('/').next().is_some_and(|last| last.contains('.'));
    match (named(path), is_file) {
        (Some(asset), _) => file(asset, request.headers()),
        (None, true) => (StatusCode::NOT_FOUND, "there is no such file\n").into_response(),
        (None, false) => match named(INDEX) {
            Some(index) => file(index, request.headers()),
            None => ([(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")], MISSING).into_response(),
        },
    }
}

fn file(asset: &Asset, headers: &HeaderMap) -> Response {
    let kept = if asset.path.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let common = [(header::CONTENT_TYPE, content_type(asset.path)), (header::CACHE_CONTROL, kept), (header::VARY, "accept-encoding")];
    match asset.gzip.filter(|_| takes_gzip(headers)) {
        Some(gzip) => (common, [(header::CONTENT_ENCODING, "gzip")], Body::from(gzip)).into_response(),
        None => (common, Body::from(asset.bytes)).into_response(),
    }
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        name.trim().eq_ignore_ascii_case("gzip") && !matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")
    })
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("wasm") => "application/wasm",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

//! Puts the dashboard's files into the program: `dashboard/dist`, where `make dashboard` leaves them, as a table of bytes.
//!
//! Without that directory the table is empty, and the program says so on the dashboard's page. `make dashboard` touches this file,
//! so that the next build looks again.
#![allow(clippy::expect_used, reason = "a build that cannot go on should stop and say why")]

use flate2::Compression;
use flate2::write::GzEncoder;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Files that shrink.
const TEXT: [&str; 7] = ["html", "js", "css", "json", "svg", "txt", "webmanifest"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where this is"));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo says where to write"));
    let mut files = Vec::new();
    let dist = here.join("../../dashboard/dist");
    if dist.is_dir() {
        println!("cargo:rerun-if-changed={}", dist.display());
        collect(&dist, &mut files);
        files.sort();
    }
    let mut table = String::from("&[\n");
    for (number, file) in files.iter().enumerate() {
        let path = file.strip_prefix(&dist).expect("a file of dist").to_str().expect("a name of UTF-8").replace('\\', "/");
        let gzip = match compressed(file) {
            Some(bytes) => {
                let beside = out.join(format!("{number}.gz"));
                std::fs::write(&beside, bytes).expect("a compressed file");
                format!("Some(include_bytes!({beside:?}))")
            }
            None => "None".to_owned(),
        };
        let file = file.canonicalize().expect("a path");
        writeln!(table, "    taut_control::dashboard::assets::Asset {{ path: {path:?}, bytes: include_bytes!({file:?}), gzip: {gzip} }},")
            .expect("memory");
    }
    table.push(']');
    std::fs::write(out.join("dashboard.rs"), table).expect("the table of files");
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("dashboard/dist can be read") {
        let path = entry.expect("dashboard/dist can be read").path();
        match path.is_dir() {
            true => collect(&path, files),
            false => files.push(path),
        }
    }
}

/// `None` where it would not be smaller.
fn compressed(file: &Path) -> Option<Vec<u8>> {
    let extension = file.extension()?.to_str()?;
    if !TEXT.contains(&extension) {
        return None;
    }
    let bytes = std::fs::read(file).expect("a file of dashboard/dist");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&bytes).expect("memory");
    Some(encoder.finish().expect("memory")).filter(|gzip| gzip.len() < bytes.len())
}

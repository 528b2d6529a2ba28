//! Puts the dashboard's files into the program: `dashboard/dist`, where `make dashboard` leaves them, as a table of bytes.
//!
//! Without that directory the table is empty, and the program says so on the dashboard's page. `make dashboard` touches this file,
//! so that the next build looks again.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Files that shrink.
const TEXT: [&str; 7] = ["html", "js", "css", "json", "svg", "txt", "webmanifest"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut files = Vec::new();
    let dist = here.join("../../dashboard/dist");
    if dist.is_dir() {
        println!("cargo:rerun-if-changed={}", dist.display());
        collect(&dist, &mut files)?;
        files.sort();
    }
    let mut table = String::from("&[\n");
    for (number, file) in files.iter().enumerate() {
        let path = file.strip_prefix(&dist)?.to_str().ok_or("a file of dashboard/dist has a name that is not UTF-8")?;
        let gzip = match compressed(file)? {
            Some(bytes) => {
                let beside = out.join(format!("{number}.gz"));
                std::fs::write(&beside, bytes)?;
                format!("Some(include_bytes!({beside:?}))")
            }
            None => "None".to_owned(),
        };
        let file = file.canonicalize()?;
        writeln!(table, "    taut_control::dashboard::assets::Asset {{ path: {path:?}, bytes: include_bytes!({file:?}), gzip: {gzip} }},")?;
    }
    table.push(']');
    std::fs::write(out.join("dashboard.rs"), table)?;
    Ok(())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        match path.is_dir() {
            true => collect(&path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}

/// `None` where it would not be smaller.
fn compressed(file: &Path) -> std::io::Result<Option<Vec<u8>>> {
    if !file.extension().and_then(|extension| extension.to_str()).is_some_and(|extension| TEXT.contains(&extension)) {
        return Ok(None);
    }
    let bytes = std::fs::read(file)?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&bytes)?;
    Ok(Some(encoder.finish()?).filter(|gzip| gzip.len() < bytes.len()))
}

//! Compresses `schemas/*.json` into the program: `SCHEMAS`, name and deflated text, sorted by name.

use flate2::{Compression, write::DeflateEncoder};
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=schemas");
    let source = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("schemas");
    let target = Path::new(&env::var("OUT_DIR")?).to_owned();
    let mut names: Vec<String> = fs::read_dir(source.clone())?
        .filter_map(|entry| entry.ok()?.file_name().to_string_lossy().strip_suffix(".json").map(str::to_owned))
        .collect();
    names.sort();
    let mut table = "static SCHEMAS: &[(&str, &[u8])] = &[\n".to_owned();
    for name in names {
        let file = target.join(format!("{name}.deflate"));
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&fs::read(source.join(format!("{name}.json")))?)?;
        fs::write(&file, encoder.finish()?)?;
        table.push_str(&format!("    ({name:?}, include_bytes!({file:?})),\n"));
    }
    table.push_str("];\n");
    fs::write(target.join("schemas.rs"), table)?;
    Ok(())
}

//! `cargo xtask tidy`: keeps the house as docs/ARCHITECTURE.md describes it. Run by the tests.

mod edges;
mod modules;
mod ratchet;
mod source;

use std::fs;
use std::path::{Path, PathBuf};

/// A Rust file of the workspace, read and parsed once.
pub struct SourceFile {
    /// Relative to the workspace root.
    pub path: String,
    pub text: String,
    pub syntax: syn::File,
    pub generated: bool,
    /// Compiled for tests only: below `tests/`, or declared as `#[cfg(test)] mod`.
    pub test: bool,
}

/// One thing that is not in order: where, and what to do.
pub struct Untidy {
    pub place: String,
    pub what: String,
}

impl Untidy {
    pub fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

/// Checks everything; `update` lets the ratchet file shrink (never grow).
pub fn run(update: bool) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask has no parent directory")?;
    let files = read_all(root)?;
    let mut untidy = Vec::new();
    untidy.extend(edges::check(root)?);
    untidy.extend(files.iter().filter(|f| !f.generated).flat_map(source::check));
    untidy.extend(modules::check(&files));
    untidy.extend(ratchet::check(root, &files, update)?);
    for one in &untidy {
        eprintln!("{}: {}", one.place, one.what);
    }
    match untidy.len() {
        0 => Ok(()),
        n => Err(format!("{n} things are not in order")),
    }
}

fn read_all(root: &Path) -> Result<Vec<SourceFile>, String> {
    let mut paths = Vec::new();
    for top in ["crates", "demo", "xtask", "bench", "fuzz"] {
        if root.join(top).is_dir() {
            rust_files(&root.join(top), &mut paths)?;
        }
    }
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        let syntax = syn::parse_file(&text).map_err(|e| format!("{}:{}: {e}", path.display(), e.span().start().line))?;
        let relative = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        let generated = relative.contains("/generated/");
        let test = relative.contains("/tests/");
        files.push(SourceFile { path: relative, text, syntax, generated, test });
    }
    let for_tests: Vec<String> = files.iter().flat_map(test_modules).collect();
    for file in &mut files {
        file.test |= for_tests.iter().any(|module| file.path == format!("{module}.rs") || file.path.starts_with(&format!("{module}/")));
    }
    Ok(files)
}

/// Paths, without `.rs`, of the modules that a file declares for tests only.
fn test_modules(file: &SourceFile) -> Vec<String> {
    let stem = file.path.trim_end_matches(".rs");
    let directory = ["/lib", "/main", "/mod"].iter().find_map(|root| stem.strip_suffix(root)).unwrap_or(stem);
    let declared = file.syntax.items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) if module.content.is_none() && modules::is_test(&module.attrs) => Some(format!("{directory}/{}", module.ident)),
        _ => None,
    });
    declared.collect()
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("cannot read {}: {e}", directory.display());
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target" && name != "node_modules") {
            rust_files(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_house_is_tidy() {
        assert_eq!(super::run(false), Ok(()));
    }
}

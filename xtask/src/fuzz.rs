//! `cargo xtask fuzz`: runs the fuzz targets of `fuzz/` for a bounded time each, from the kept corpus on. Installs nothing.

use crate::target_directory;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Longest input: every parser reads heads, not bodies.
const LONGEST: u32 = 4096;
/// What any one input may take, in seconds, and all of a target, in MiB.
const SLOWEST: u32 = 5;
const MEMORY: u32 = 1024;

/// Runs `target`, or every target, for `seconds` each. With `keep`, inputs that reach new code join the kept corpus.
pub fn run(target: Option<&str>, seconds: u32, keep: bool) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask has no parent directory")?;
    let all = targets(root)?;
    let chosen: Vec<&str> = match target {
        Some(name) if all.iter().any(|known| known == name) => vec![name],
        Some(name) => return Err(format!("there is no fuzz target {name}; there are {}", all.join(", "))),
        None => all.iter().map(String::as_str).collect(),
    };
    let installed = Command::new("cargo").args(["fuzz", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !installed.is_ok_and(|status| status.success()) {
        return Err(
            "cargo-fuzz is not installed: cargo install cargo-fuzz --locked; the kept corpus is replayed by `make test` without it".to_owned()
        );
    }
    for name in chosen {
        println!("{name}: {seconds} s");
        let target = Target { root, name };
        target.fuzz(seconds)?;
        if keep {
            target.keep()?;
        }
    }
    Ok(())
}

/// The names of the programs in `fuzz/fuzz_targets`.
fn targets(root: &Path) -> Result<Vec<String>, String> {
    let directory = root.join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&directory).map_err(|error| format!("cannot read {}: {error}", directory.display()))?;
    let stem = |entry: fs::DirEntry| Some(entry.path().file_stem()?.to_str()?.to_owned());
    let mut names: Vec<String> = entries.filter_map(|entry| stem(entry.ok()?)).collect();
    names.sort();
    Ok(names)
}

struct Target<'a> {
    root: &'a Path,
    name: &'a str,
}

impl Target<'_> {
    fn kept(&self) -> PathBuf {
        self.root.join("fuzz/corpus").join(self.name)
    }

    /// Where the fuzzer writes: the kept corpus grows only on purpose.
    fn found(&self) -> PathBuf {
        fuzz_directory(self.root).join("found").join(self.name)
    }

    fn fuzz(&self, seconds: u32) -> Result<(), String> {
        let found = self.found();
        fs::create_dir_all(&found).map_err(|error| format!("cannot make {}: {error}", found.display()))?;
        let limits = [
            format!("-max_total_time={seconds}"),
            format!("-max_len={LONGEST}"),
            format!("-timeout={SLOWEST}"),
            format!("-rss_limit_mb={MEMORY}"),
            "-verbosity=0".to_owned(),
            "-print_final_stats=1".to_owned(),
        ];
        self.libfuzzer(&[found, self.kept()], &limits)
    }

    /// The fewest of the inputs found that reach what the kept ones do not.
    fn keep(&self) -> Result<(), String> {
        let merge = ["-set_cover_merge=1".to_owned(), format!("-max_len={LONGEST}"), "-verbosity=0".to_owned()];
        self.libfuzzer(&[self.kept(), self.found()], &merge)
    }

    fn libfuzzer(&self, corpora: &[PathBuf], options: &[String]) -> Result<(), String> {
        // No sanitizer: the crates hold no unsafe code, and without one a stable compiler will do.
        let mut command = Command::new("cargo");
        command.current_dir(self.root.join("fuzz")).args(["fuzz", "run", "--sanitizer", "none", "--target-dir"]).arg(fuzz_directory(self.root));
        command.arg(self.name).args(corpora).arg("--").args(options);
        match command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err(format!(
                "{name} found something, or did not build (see above). Mend it, and keep the input: cp fuzz/artifacts/{name}/* fuzz/corpus/{name}/",
                name = self.name
            )),
            Err(error) => Err(format!("cannot run cargo fuzz: {error}")),
        }
    }
}

fn fuzz_directory(root: &Path) -> PathBuf {
    target_directory(root).join("fuzz")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_target_is_told_with_those_that_exist() {
        let refused = run(Some("nonsense"), 1, false).unwrap_err();
        assert!(refused.contains("no fuzz target nonsense") && refused.contains("proxy_protocol"), "{refused}");
    }
}

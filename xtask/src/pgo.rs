//! `cargo xtask pgo`: builds `taut-proxy` for what it does most, as a run under load has shown (profile-guided optimization). Installs nothing.
//!
//! What a request needs lies together then. A proxy that sleeps between two requests finds little of itself in the caches when it wakes, so
//! what it must fetch again is most of what a request costs (bench/README.md, "A paced load").

use crate::target_directory;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The loads of `bench proxy` that train, and for how long each runs, in seconds.
const LOADS: &str = "http1,http2,open,connect,tcp";
const SECONDS: &str = "1.5";

pub fn run() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask has no parent directory")?;
    let host = said(Command::new("rustc").arg("-vV"))?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc does not say what it compiles for")?.to_owned();
    let merger = merger(&host)?;
    let all = target_directory(root);
    let built = Built { root, host: &host, directory: all.join("pgo") };

    println!("1 of 4: taut, which the load needs");
    done(Command::new("cargo").current_dir(root).args(["build", "--release", "-p", "taut"]), "taut does not build")?;
    println!("2 of 4: taut-proxy that counts what it does");
    let profiles = built.directory.join("profiles");
    let _ = fs::remove_dir_all(&profiles);
    fs::create_dir_all(&profiles).map_err(|error| format!("cannot make {}: {error}", profiles.display()))?;
    // Counts go to a file as they are made: the load ends its proxies without a word.
    let counting = built.proxy("counting", "-Cprofile-generate -Cllvm-args=-runtime-counter-relocation")?;
    println!("3 of 4: {LOADS} through two of them");
    let me = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let mut load = Command::new(me);
    load.args(["bench", "proxy", "--systems", "tautline", "--rounds", "1", "--seconds", SECONDS, "--only", LOADS]);
    load.env("TAUT", all.join("release/taut")).env("TAUT_PROXY", &counting).env("LLVM_PROFILE_FILE", profiles.join("%p%c.profraw"));
    done(&mut load, "the load did not run")?;
    println!("4 of 4: taut-proxy for what was counted");
    let merged = built.directory.join("merged.profdata");
    done(Command::new(merger).arg("merge").arg("-o").arg(&merged).arg(&profiles), "the counts cannot be added up")?;
    let proxy = built.proxy("tuned", &format!("-Cprofile-use={}", merged.display()))?;
    println!("{}", proxy.display());
    Ok(())
}

struct Built<'a> {
    root: &'a Path,
    host: &'a str,
    directory: PathBuf,
}

impl Built<'_> {
    /// A release build with more flags. Naming the target keeps the flags from programs that only run while building.
    fn proxy(&self, name: &str, flags: &str) -> Result<PathBuf, String> {
        let directory = self.directory.join(name);
        let mut build = Command::new("cargo");
        build.current_dir(self.root).args(["build", "--release", "-p", "taut-proxy", "--target", self.host]);
        build.env("CARGO_TARGET_DIR", &directory).env("RUSTFLAGS", flags);
        done(&mut build, "taut-proxy does not build")?;
        Ok(directory.join(self.host).join("release/taut-proxy"))
    }
}

/// rustc's own, of the same LLVM.
fn merger(host: &str) -> Result<PathBuf, String> {
    let sysroot = said(Command::new("rustc").args(["--print", "sysroot"]))?;
    let program = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin/llvm-profdata");
    if program.exists() { Ok(program) } else { Err("llvm-profdata of this rustc is not installed: rustup component add llvm-tools".to_owned()) }
}

fn said(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("cannot start {}: {error}", name(command)))?;
    if output.status.success() { Ok(String::from_utf8_lossy(&output.stdout).into_owned()) } else { Err(format!("{} failed", name(command))) }
}

fn done(command: &mut Command, otherwise: &str) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("{otherwise} (see above)")),
        Err(error) => Err(format!("cannot start {}: {error}", name(command))),
    }
}

fn name(command: &Command) -> String {
    AsRef::<OsStr>::as_ref(command.get_program()).to_string_lossy().into_owned()
}

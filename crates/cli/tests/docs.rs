//! Runs the examples of the user documentation: every `sh` block of docs/*.md, against a bookstore of the page's own, and compares
//! what it prints with the `text` block after it.
//!
//! A block whose first line is `# fails` must fail. In a `text` block, white space is squeezed, `…` stands for any characters of a
//! line, and a line that is only `…` for any lines; its lines must be found in order. `console` blocks are not run, and counted.
//! The pages use the demo's addresses, 127.0.10.N; here they become those of the test's mesh.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs::File;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex};
use std::time::Duration;
use support::{Mesh, eventually, has};

/// How long one block may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Meshes that run at the same time.
const AT_ONCE: usize = 2;
/// The demo's addresses, as the pages write them.
const DEMO: &str = "127.0.10.";
/// Programs that a page may use, and that a machine may lack.
const PROGRAMS: &[&str] = &["kubectl", "curl", "python3", "openssl", "jq"];

#[test]
fn run() {
    page("run");
}

#[test]
fn traffic() {
    page("traffic");
}

#[test]
fn why() {
    page("why");
}

#[test]
fn kubectl() {
    page("kubectl");
}

#[test]
fn security() {
    page("security");
}

#[test]
fn trust() {
    page("trust");
}

#[test]
fn other_authorities() {
    page("other-authorities");
}

#[test]
fn least() {
    page("least");
}

#[test]
fn spiffe() {
    page("spiffe");
}

#[test]
fn analyze() {
    page("analyze");
}

#[test]
fn test() {
    page("test");
}

#[test]
fn observe() {
    page("observe");
}

#[test]
fn traces() {
    page("traces");
}

#[test]
fn operate() {
    page("operate");
}

#[test]
fn changes() {
    page("changes");
}

#[test]
fn dashboard() {
    page("dashboard");
}

#[test]
fn signals() {
    page("signals");
}

#[test]
fn recordings() {
    page("recordings");
}

#[test]
fn incidents() {
    page("incidents");
}

#[test]
fn overload() {
    page("overload");
}

#[test]
fn prometheus() {
    page("prometheus");
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The pages of docs/, by name.
fn pages() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repository().join("docs")).expect("docs/");
    let mut pages: Vec<PathBuf> =
        entries.map(|entry| entry.expect("docs/").path()).filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    pages.sort();
    pages
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Block {
    language: String,
    /// Of the opening fence, from 1.
    line: usize,
    text: String,
}

/// The fenced blocks of a page (CommonMark 4.5, as far as our pages use it: three backticks at the start of a line).
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(language), None) => open = Some(Block { language: language.trim().to_owned(), line: number + 1, text: String::new() }),
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.text += line;
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed: {open:?}");
    blocks
}

/// Lets two pages have their mesh at a time.
struct Gate {
    free: Mutex<usize>,
    freed: Condvar,
}

static GATE: Gate = Gate { free: Mutex::new(AT_ONCE), freed: Condvar::new() };

impl Gate {
    fn enter(&self) -> Pass<'_> {
        let free = self.free.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *self.freed.wait_while(free, |free| *free == 0).unwrap_or_else(std::sync::PoisonError::into_inner) -= 1;
        Pass(self)
    }
}

/// Given back when dropped, also by a page that failed.
struct Pass<'a>(&'a Gate);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

fn page(name: &str) {
    let blocks = blocks(&read(&repository().join(format!("docs/{name}.md"))));
    let scripts = || blocks.iter().filter(|block| block.language == "sh");
    let used = |program: &&&str| scripts().any(|block| block.text.split_whitespace().any(|word| word == **program));
    if let Some(missing) = PROGRAMS.iter().filter(used).find(|program| !has(program)) {
        eprintln!("docs/{name}.md: {missing} is not installed: the page is not tried here");
        return;
    }
    let _pass = GATE.enter();
    let stage = Stage::new(Mesh::bookstore());
    for (index, block) in blocks.iter().enumerate().filter(|(_, block)| block.language == "sh") {
        let expected = blocks.get(index + 1).filter(|next| next.language == "text");
        if let Err(why) = stage.check(block, expected) {
            panic!("docs/{name}.md:{}: {why}", block.line);
        }
    }
    let skipped = blocks.iter().filter(|block| block.language == "console").count();
    println!("docs/{name}.md: {} blocks ran, {skipped} not run", scripts().count());
}

/// Where the blocks of a page run: their mesh, and a directory that looks like the repository's root.
struct Stage {
    mesh: Mesh,
    work: PathBuf,
}

impl Stage {
    fn new(mesh: Mesh) -> Self {
        let work = mesh.directory.path().join("work");
        let programs = mesh.directory.path().join("bin");
        for directory in [&work, &programs] {
            std::fs::create_dir(directory).expect("a directory for the page");
        }
        symlink(env!("CARGO_BIN_EXE_taut"), programs.join("taut")).expect("taut on the path");
        symlink(repository().join("testdata"), work.join("testdata")).expect("testdata");
        Self { mesh, work }
    }

    fn here(&self, text: &str) -> String {
        let address = self.mesh.address(0);
        text.replace(DEMO, address.strip_suffix('0').expect("an address that ends in 0"))
    }

    fn check(&self, block: &Block, expected: Option<&Block>) -> Result<(), String> {
        let (succeeded, output) = self.execute(&block.text)?;
        let should_fail = block.text.starts_with("# fails");
        if succeeded == should_fail {
            let word = if should_fail { "succeeded, and should fail" } else { "failed" };
            return Err(format!("the block {word}:\n{output}"));
        }
        let expected = expected.map(|block| self.here(&block.text)).unwrap_or_default();
        found(&expected, &output).map_err(|line| format!("the output has no line (in this order)\n  {line}\nin\n{output}"))
    }

    /// Whether the script succeeded, and what it printed: all of standard output, then all of standard error.
    fn execute(&self, script: &str) -> Result<(bool, String), String> {
        let logs = ["out", "err"].map(|stream| self.mesh.directory.path().join(format!("block.{stream}")));
        let [output, errors] = [&logs[0], &logs[1]].map(|log| File::create(log).expect("a file for the output"));
        let mut child = self.shell(script).stdout(output).stderr(errors).spawn().map_err(|error| format!("sh: {error}"))?;
        let group = child.id();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(LIMIT, "the block ends", || child.try_wait().map_err(|e| e.to_string())?.ok_or_else(|| "it still runs".to_owned()))
        }));
        let printed = logs.map(|log| read(&log)).join("\n");
        match ended {
            Ok(status) => Ok((status.success(), printed)),
            Err(_) => {
                end_group(group);
                // It was killed; only the reaping is left.
                let _ = child.wait();
                Err(format!("the block did not end within {LIMIT:?}; it printed\n{printed}"))
            }
        }
    }

    fn shell(&self, script: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let directory = self.mesh.directory.path();
        let mut shell = Command::new("sh");
        shell.args(["-eu", "-c", &self.here(script)]).current_dir(&self.work).stdin(Stdio::null()).process_group(0);
        shell.env("PATH", format!("{}:{path}", directory.join("bin").display())).env("HOME", directory);
        shell.env("TAUT_STATE", self.mesh.state()).env("TAUT_CONTROL", self.mesh.grpc()).env("KUBECONFIG", self.mesh.kubeconfig());
        for name in [
            "TAUT_KUBECONFIG",
            "TAUT_TOKEN",
            "HTTP_PROXY",
            "http_proxy",
            "HTTPS_PROXY",
            "https_proxy",
            "ALL_PROXY",
            "all_proxy",
            "NO_PROXY",
            "no_proxy",
        ] {
            shell.env_remove(name);
        }
        shell
    }
}

/// SIGKILL to a block's own process group, whose leader has not been reaped.
fn end_group(leader: u32) {
    if let Ok(leader) = leader.try_into() {
        // Whoever has ended already needs no signal.
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(leader), nix::sys::signal::Signal::SIGKILL);
    }
}

/// Finds the expected lines in the output, in order.
fn found(expected: &str, output: &str) -> Result<(), String> {
    let output: Vec<String> = output.lines().map(squeezed).collect();
    let mut rest = &output[..];
    for line in expected.lines().map(squeezed).filter(|line| !line.is_empty() && line != "…") {
        match rest.iter().position(|have| matches(&line, have)) {
            Some(at) => rest = &rest[at + 1..],
            None => return Err(line),
        }
    }
    Ok(())
}

fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a line reads like the pattern, in which `…` is anything.
fn matches(pattern: &str, line: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('…') else { return pattern == line };
    let Some(mut line) = line.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = rest.split('…').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        match line.find(part) {
            Some(at) => line = &line[at + part.len()..],
            None => return false,
        }
    }
    line.ends_with(tail)
}

#[test]
fn lines_are_found_in_order_and_with_gaps() {
    let output = "NAME   AGE\nreviews   5s\nratings   17s\n";
    for (expected, want) in [
        ("NAME AGE\nreviews …\n", true),
        ("NAME AGE\n…\nratings 17s", true),
        ("reviews …s\nratings 1…s", true),
        ("ratings …\nreviews …", false),
        ("reviews", false),
        ("…s …", true),
        ("reviews … 5s", false),
    ] {
        assert_eq!(found(expected, output).is_ok(), want, "{expected}");
    }
    assert!(matches("a…b…c", "a1b2c") && !matches("a…b…c", "a1c2b"));
}

#[test]
fn blocks_are_read_with_their_line() {
    let read = blocks("x\n```sh\na\nb\n```\n\n```text\nc\n```\n");
    let block = |language: &str, line, text: &str| Block { language: language.into(), line, text: text.into() };
    assert_eq!(read, [block("sh", 2, "a\nb\n"), block("text", 7, "c\n")]);
}

#[test]
fn no_page_with_examples_is_forgotten() {
    let source = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/docs.rs"));
    for path in pages() {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
        let has_examples = blocks(&read(&path)).iter().any(|block| block.language == "sh");
        assert!(!has_examples || source.contains(&format!("page(\"{name}\")")), "docs/{name}.md has examples that no test runs");
    }
}

#[test]
fn every_link_leads_somewhere() {
    for path in pages().into_iter().chain([repository().join("README.md")]) {
        let text = read(&path);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|target| !target.contains("://")) {
            let (file, heading) = target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
            let linked = if file.is_empty() { path.clone() } else { path.parent().expect("a directory").join(file) };
            assert!(linked.exists(), "{}: {target} does not exist", path.display());
            let named = |heading: &str| read(&linked).lines().any(|line| line.starts_with('#') && anchor(line) == heading);
            assert!(heading.is_none_or(named), "{}: {target}: no such heading", path.display());
        }
    }
}

/// A heading's anchor as forges make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_')).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_picture_is_drawn_from_its_text() {
    if !has("python3") {
        eprintln!("python3 is not installed: pictures are not drawn again here");
        return;
    }
    let images = repository().join("docs/images");
    let drawn = tempfile::NamedTempFile::new().expect("a file to draw into");
    let mut render = Command::new("python3");
    render.arg(images.join("render.py")).arg(images.join("why.txt")).arg(drawn.path()).env("PYTHONDONTWRITEBYTECODE", "1");
    assert!(render.status().expect("python3").success());
    assert_eq!(read(drawn.path()), read(&images.join("why.svg")), "draw docs/images/why.svg again: see render.py");
}

/// The commands in the tables of README.md that end by themselves. `./mesh`, `tests.yaml` and `./hello` are what they say they are.
#[test]
fn the_readme_tells_commands_that_work() {
    let text = read(&repository().join("README.md"));
    let cells = text.lines().filter(|line| line.starts_with('|')).flat_map(|line| line.split('`').skip(1).step_by(2));
    let commands: Vec<&str> = cells.filter(|code| code.starts_with("taut ") && *code != "taut up" && !code.contains('…')).collect();
    assert!(commands.len() >= 4, "README.md's table has commands: {commands:?}");
    let _pass = GATE.enter();
    let stage = Stage::new(Mesh::bookstore());
    std::fs::create_dir(stage.work.join("mesh")).expect("./mesh");
    std::fs::write(stage.work.join("mesh/bookstore.yaml"), taut_demo::manifests::BOOKSTORE).expect("./mesh/bookstore.yaml");
    std::fs::write(stage.work.join("mesh/versions.yaml"), taut_demo::manifests::VERSIONS).expect("./mesh/versions.yaml");
    std::fs::copy(repository().join("demo/tests.yaml"), stage.work.join("tests.yaml")).expect("./tests.yaml");
    let hello = stage.work.join("hello");
    std::fs::write(&hello, "#!/bin/sh\necho \"hello on $PORT\"\n").expect("./hello");
    std::fs::set_permissions(&hello, std::fs::Permissions::from_mode(0o755)).expect("./hello");
    for command in commands {
        let (succeeded, output) = stage.execute(command).unwrap_or_else(|why| panic!("{command}: {why}"));
        assert!(succeeded, "README.md: {command}:\n{output}");
    }
}

//! `taut apply` and `taut delete`: files to objects, each checked before any is sent.

use crate::api::{Answer, Api, collection, shown};
use crate::output;
use crate::place::Place;
use crate::wait;
use crate::{Failure, Outcome};
use http::{Method, StatusCode};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use taut_model::kinds;
use taut_model::object::Object;
use taut_model::problem::Severity;
use taut_model::read::{self, Reading};

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut apply -f reviews.yaml
  taut apply -f ./mesh --wait 10s
  kustomize build . | taut apply -f -")]
pub struct Arguments {
    /// File, directory (its *.yaml, *.yml, *.json) or - for standard input; may be given again
    #[arg(short, long = "filename", required = true, value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// Namespace of objects that name none
    #[arg(short, long)]
    namespace: Option<String>,
    /// Only say what would change
    #[arg(long)]
    dry_run: bool,
    /// Take over fields that another manager owns
    #[arg(long)]
    force_conflicts: bool,
    /// Wait so long until the objects are live in every proxy that needs them, e.g. 10s
    #[arg(long, value_name = "TIME", value_parser = crate::duration::duration)]
    wait: Option<Duration>,
}

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut delete virtualservice reviews
  taut delete -f reviews.yaml")]
pub struct DeleteArguments {
    /// Kind and names: virtualservice reviews ratings
    #[arg(required_unless_present = "filename")]
    what: Vec<String>,
    /// Delete the objects of these files
    #[arg(short, long = "filename", value_name = "FILE")]
    filename: Vec<PathBuf>,
    #[arg(short, long)]
    namespace: Option<String>,
    /// What is not there is no failure
    #[arg(long)]
    ignore_not_found: bool,
}

/// How objects are applied.
pub struct How<'a> {
    /// Of objects that name none.
    pub namespace: Option<&'a str>,
    pub dry_run: bool,
    pub force_conflicts: bool,
    /// Until they are live everywhere.
    pub wait: Option<Duration>,
}

pub async fn apply(place: &Place, arguments: Arguments) -> Outcome {
    let objects = objects(&arguments.filename)?;
    let Arguments { namespace, dry_run, force_conflicts, wait, .. } = &arguments;
    apply_all(&place.api()?, &objects, &How { namespace: namespace.as_deref(), dry_run: *dry_run, force_conflicts: *force_conflicts, wait: *wait })
        .await
}

/// Applies objects as one change.
pub async fn apply_all(api: &Api, objects: &[Object], how: &How<'_>) -> Outcome {
    let change = change();
    let mut failed = 0;
    let mut applied = Vec::new();
    for object in objects {
        match apply_one(api, object, how, &change).await? {
            Ok(verb) => {
                let suffix = if how.dry_run { " (dry run)" } else { "" };
                output::tell(&format!("{} {verb}{suffix}", shown(object.kind, &object.name)));
                applied.push((object.kind, namespace_of(api, object, how.namespace), object.name.clone()));
            }
            Err(message) => {
                crate::output::error(&format!("{}: {message}", object.reference()));
                failed += 1;
            }
        }
    }
    if failed > 0 {
        return Err(Failure::no(format!("{failed} of {} objects were not applied", objects.len())));
    }
    match how.wait.filter(|_| !how.dry_run) {
        Some(limit) => wait::until_live(api, &applied, limit).await,
        None => Ok(()),
    }
}

/// Makes all requests of this command one change of configuration.
fn change() -> String {
    format!("change={:016x}", fastrand::u64(..))
}

async fn apply_one(api: &Api, object: &Object, how: &How<'_>, change: &str) -> Outcome<Result<&'static str, String>> {
    let namespace = namespace_of(api, object, how.namespace);
    let path = format!("{}/{}", collection(object.kind, Some(&namespace)), object.name);
    let before = api.get(&path).await?;
    let mut query = format!("?fieldManager=taut&fieldValidation=Strict&{change}");
    if how.dry_run {
        query += "&dryRun=All";
    }
    if how.force_conflicts {
        query += "&force=true";
    }
    let body = object.value.to_string().into_bytes();
    let answer: Answer = api.send(Method::PATCH, &(path + &query), "application/apply-patch+yaml", "application/json", body).await?;
    if answer.status == StatusCode::CONFLICT {
        return Ok(Err(format!("{}\n  to take these fields over: --force-conflicts", answer.message())));
    }
    if !answer.status.is_success() {
        return Ok(Err(answer.message()));
    }
    let version = |value: &serde_json::Value| value["metadata"]["resourceVersion"].clone();
    Ok(Ok(match before.status {
        StatusCode::NOT_FOUND => "created",
        _ if version(&before.value) == version(&answer.value) => "unchanged",
        _ => "configured",
    }))
}

fn namespace_of(api: &Api, object: &Object, given: Option<&str>) -> String {
    match object.value["metadata"]["namespace"].as_str() {
        Some(namespace) => namespace.to_owned(),
        None => given.unwrap_or_else(|| api.default_namespace()).to_owned(),
    }
}

pub async fn delete(place: &Place, arguments: DeleteArguments) -> Outcome {
    let api = place.api()?;
    let namespace = arguments.namespace.as_deref();
    let mut targets = Vec::new();
    for object in objects(&arguments.filename)? {
        let namespace = namespace_of(&api, &object, namespace);
        targets.push((object.kind, namespace, object.name));
    }
    if let [kind, names @ ..] = &arguments.what[..] {
        let kind = kinds::named(kind).ok_or_else(|| Failure::cannot(unknown_kind(kind)))?;
        if names.is_empty() {
            return Err(Failure::cannot(format!("which {}? Name them: taut delete {} NAME…", kind.plural, kind.singular)));
        }
        let namespace = namespace.unwrap_or_else(|| api.default_namespace());
        targets.extend(names.iter().map(|name| (kind, namespace.to_owned(), name.clone())));
    }
    let change = change();
    let mut missing = 0;
    for (kind, namespace, name) in targets {
        let path = format!("{}/{name}?fieldManager=taut&{change}", collection(kind, Some(&namespace)));
        let answer = api.send(Method::DELETE, &path, "application/json", "application/json", Vec::new()).await?;
        match answer.status {
            StatusCode::NOT_FOUND if arguments.ignore_not_found => {}
            StatusCode::NOT_FOUND => {
                missing += 1;
                crate::output::error(&answer.message());
            }
            _ => {
                answer.good()?;
                output::tell(&format!("{} deleted", shown(kind, &name)));
            }
        }
    }
    if missing > 0 { Err(Failure::no("")) } else { Ok(()) }
}

pub fn unknown_kind(kind: &str) -> String {
    format!("there is no kind {kind:?}; try services, virtualservices, destinationrules, httproutes, …")
}

/// The objects of files, directories and standard input. Every problem of every file is printed; an error stops.
pub fn objects(paths: &[PathBuf]) -> Outcome<Vec<Object>> {
    let mut objects = Vec::new();
    let mut errors = 0;
    for reading in readings(paths)? {
        for problem in &reading.problems {
            output::say(&format!("{problem}"));
            errors += usize::from(problem.severity == Severity::Error);
        }
        objects.extend(reading.objects);
    }
    match errors {
        0 => Ok(objects),
        n => Err(Failure::no(format!("{n} error{} in the files; nothing was sent", if n == 1 { "" } else { "s" }))),
    }
}

/// Reads every file, in the order given and by name inside directories.
pub fn readings(paths: &[PathBuf]) -> Outcome<Vec<Reading>> {
    let mut readings = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|e| Failure::cannot(format!("standard input: {e}")))?;
            readings.push(read::yaml(&text, "<stdin>"));
            continue;
        }
        for file in files(path)? {
            let bytes = std::fs::read(&file).map_err(|e| Failure::cannot(format!("cannot read {}: {e}", file.display())))?;
            // What is not UTF-8 is found as a problem of this file, beside those of the others.
            readings.push(read::yaml(&String::from_utf8_lossy(&bytes), &file.display().to_string()));
        }
    }
    Ok(readings)
}

fn files(path: &Path) -> Outcome<Vec<PathBuf>> {
    let failed = |e: std::io::Error| Failure::cannot(format!("cannot read {}: {e}", path.display()));
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut open = vec![path.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            match path.extension().and_then(|e| e.to_str()) {
                _ if path.is_dir() => open.push(path),
                Some("yaml" | "yml" | "json") => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

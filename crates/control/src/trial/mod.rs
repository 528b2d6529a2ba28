//! Assertions over configuration (`taut test`): a RouteTest's cases are put to the plans that the proxies would compile, every
//! outcome is counted with its exact share, and what differs is told with both lines: the assertion's and the configuration's.

mod judge;
mod judgement;
pub(crate) mod seen;
pub(crate) mod share;
mod workloads;
mod written;

pub use judgement::{Judgement, Mismatch};

use crate::publish::Published;
use crate::request;
use crate::translate::Settings;
use crate::why::{Inquiry, Question};
use judge::Judge;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use taut_model::kinds::Kind;
use taut_model::object::Object;
use taut_model::origin::ObjectRef;
use taut_model::problem::{Problem, Severity};
use taut_model::read::only;
use written::{Case, Spec};

/// Lives in files only: the mesh does not store it.
static KIND: Kind = Kind {
    group: "tautline.dev",
    versions: &["v1alpha1"],
    kind: "RouteTest",
    plural: "routetests",
    singular: "routetest",
    short_names: &[],
    categories: &[],
    namespaced: true,
    has_status: false,
    columns: &[],
};

/// A schema that does not parse would accept anything; a test holds it to refuse.
static SCHEMA: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(include_str!("schema.json")).unwrap_or_default());

/// One RouteTest.
pub struct Suite {
    object: Object,
    spec: Spec,
}

/// The RouteTests of a file.
///
/// # Errors
/// What is wrong with them.
pub fn read(text: &str, file: &str) -> Result<Vec<Suite>, Vec<Problem>> {
    let reading = only::yaml(text, file, &KIND, &SCHEMA);
    if reading.problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(reading.problems);
    }
    reading.objects.into_iter().map(suite).collect()
}

fn suite(object: Object) -> Result<Suite, Vec<Problem>> {
    match Spec::deserialize(&object.value["spec"]) {
        Ok(spec) => Ok(Suite { spec, object }),
        Err(error) => Err(vec![Problem {
            severity: Severity::Error,
            code: "WrongType",
            object: Some(object.reference()),
            path: "spec".to_owned(),
            location: object.location("spec"),
            message: format!("spec cannot be read: {error}"),
            help: None,
            excerpt: None,
        }]),
    }
}

/// What came of all cases.
pub struct Trial {
    pub judgements: Vec<Judgement>,
    /// Objects of the configuration that are not accepted: cases are judged without them, as proxies would be.
    pub refused: Vec<Problem>,
}

/// Puts all cases to a mesh that holds `objects`, the workloads that these announce, and those that the tests name.
pub fn run(suites: &[Suite], objects: Vec<Arc<Object>>, settings: &Settings) -> Trial {
    let mut objects = objects;
    let mut hands = workloads::Hands::new(&objects);
    let announced = hands.announced(&objects);
    objects.extend(announced);
    for suite in suites {
        objects.extend(suite.spec.workloads.iter().map(|written| hands.named(written, suite.object.namespace.as_str())));
    }
    // Callers last: who is only there to ask must not change what others are told by name.
    let mut callers: BTreeMap<(usize, usize), String> = BTreeMap::new();
    for (number, suite) in suites.iter().enumerate() {
        for (index, caller) in suite.spec.cases.iter().enumerate().filter_map(|(index, case)| Some((index, case.r#as.as_ref()?))) {
            let object = hands.caller(caller, &suite.object.namespace);
            callers.insert((number, index), format!("{}/{}", object.namespace, object.name));
            objects.push(object);
        }
    }
    let published = Published::new(&objects, 1, settings, &Published::default());
    let mut judgements = Vec::new();
    for (number, suite) in suites.iter().enumerate() {
        for (index, case) in suite.spec.cases.iter().enumerate() {
            let caller = callers.get(&(number, index)).map(String::as_str);
            judgements.push(judge(&published, settings, suite, index, case, caller));
        }
    }
    Trial { judgements, refused: refused(&published) }
}

fn refused(published: &Published) -> Vec<Problem> {
    let findings: &BTreeMap<ObjectRef, Vec<Problem>> = &published.translation.findings;
    findings.values().flatten().filter(|problem| problem.severity == Severity::Error).cloned().collect()
}

fn judge(published: &Published, settings: &Settings, suite: &Suite, index: usize, case: &Case, caller: Option<&str>) -> Judgement {
    let at = format!("spec.cases[{index}]");
    let mut judgement = Judgement::new(&suite.object, &at, case.name.as_deref(), &case.summary(caller));
    let question = match question(case, caller) {
        Ok(question) => question,
        Err((field, why)) => {
            judgement.cannot(&suite.object, &format!("{at}.{field}"), why);
            return judgement;
        }
    };
    match Inquiry::new(published, &settings.trust_domain, &question) {
        Err(why) => judgement.cannot(&suite.object, &at, why.to_string()),
        Ok(inquiry) => Judge::new(&inquiry, &question, &suite.object, format!("{at}.expect")).judge(&case.expect, &mut judgement),
    }
    judgement
}

/// The field that is no good, and why, if one is.
fn question(case: &Case, caller: Option<&str>) -> Result<Question, (&'static str, String)> {
    let from = match (&case.from, caller) {
        (Some(_), Some(_)) => return Err(("as", "stands beside from: choose one".to_owned())),
        (None, None) => return Err(("from", "nobody asks: name a workload or a service in from, or describe the caller in as".to_owned())),
        (Some(from), None) => from.clone(),
        (None, Some(caller)) => caller.to_owned(),
    };
    let line = case.request.as_deref().map(request::line).transpose().map_err(|why| ("request", why))?;
    let (method, path) = line.map(|line| (line.method, line.target)).unzip();
    Ok(Question { from, to: case.to.clone(), method, path, headers: case.headers.clone() })
}

#[cfg(test)]
mod tests;

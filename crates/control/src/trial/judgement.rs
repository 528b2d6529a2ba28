//! What came of one case: what was expected and did not come, and what decided.

use serde::Serialize;
use taut_model::object::Object;
use taut_model::origin::{Location, Origin};

#[derive(Clone, Debug, Serialize)]
pub struct Judgement {
    /// The RouteTest's name.
    pub suite: String,
    pub name: String,
    /// Of the case.
    pub location: Option<Location>,
    pub passed: bool,
    pub mismatches: Vec<Mismatch>,
    /// What of the configuration decided, each once.
    pub decided_by: Vec<Origin>,
    /// All outcomes explained, as `taut why` does.
    pub explanation: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Mismatch {
    /// Field of the RouteTest.
    pub path: String,
    pub location: Option<Location>,
    pub expected: String,
    pub got: String,
    /// What of the configuration made it so, if anything did.
    pub because: Option<Origin>,
}

impl Judgement {
    /// A case without a name is called by what it asks.
    pub fn new(suite: &Object, at: &str, name: Option<&str>, summary: &str) -> Self {
        Self {
            suite: suite.name.clone(),
            name: name.unwrap_or(summary).to_owned(),
            location: suite.location(at),
            passed: true,
            mismatches: Vec::new(),
            decided_by: Vec::new(),
            explanation: String::new(),
        }
    }

    pub fn fail(&mut self, mismatch: Mismatch) {
        self.passed = false;
        self.mismatches.push(mismatch);
    }

    /// The case cannot be put to the mesh.
    pub fn cannot(&mut self, suite: &Object, path: &str, why: String) {
        let expected = "a case that can be tried".to_owned();
        self.fail(Mismatch { path: path.to_owned(), location: suite.location(path), expected, got: why, because: None });
    }
}

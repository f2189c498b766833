//! What `nixfleet-switch selftest --json` prints.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    pub(crate) steps: Vec<Step>,
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) questions: Vec<Question>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) fact: String,
    pub(crate) expectation: String,
    pub(crate) ok: bool,
    pub(crate) seconds: f64,
    pub(crate) said: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Question {
    pub(crate) question: String,
    pub(crate) answer: String,
}

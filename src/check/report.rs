//! What `selectiv check` found, as JSON has it.

use super::Outcome;
use crate::error::UserError;
use crate::files;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Largest report that is read.
const MOST_BYTES: u64 = 64 << 20;

/// One run of `selectiv check`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Of this program; earlier versions did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Of its source.
    pub commit: String,
    /// The device in words; earlier versions did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Its driver, on a GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Checks within what is allowed.
    pub passed: usize,
    /// Checks beyond it.
    pub failed: usize,
    /// Checks that were not made.
    pub skipped: usize,
    /// Of the variants of the device's kernels, by name: what each said.
    #[serde(default)]
    pub self_tests: BTreeMap<String, String>,
    /// Each of them.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Op or model, and case.
    pub name: String,
    /// Twin, or variant of the device's kernels.
    pub device: String,
    /// What became of it.
    pub status: Status,
    /// The variant of the kernels that ran, where there is a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Why it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The tensor closest to its limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensor: Option<String>,
    /// Its error; none if it was skipped, and where it is no number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<f64>,
    /// Its limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<f64>,
}

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Every tensor is within what is allowed.
    Passed,
    /// One is not.
    Failed,
    /// It was not made.
    Skipped,
}

impl From<&Outcome> for Check {
    fn from(outcome: &Outcome) -> Self {
        let worst = outcome.worst();
        Self {
            name: outcome.name.clone(),
            device: outcome.device.clone(),
            status: match &outcome.result {
                Err(_) => Status::Skipped,
                Ok(_) if outcome.passed() => Status::Passed,
                Ok(_) => Status::Failed,
            },
            variant: outcome.variant.clone(),
            reason: outcome.result.as_ref().err().cloned(),
            tensor: worst.map(|d| d.tensor.clone()),
            error: worst.map(|d| d.error).filter(|e| e.is_finite()),
            allowed: worst.map(|d| d.allowed),
        }
    }
}

impl Check {
    /// The variant, or the twin or device where there is no choice.
    pub fn place(&self) -> &str {
        self.variant.as_ref().unwrap_or(&self.device)
    }

    /// The op or model: the first word of the name.
    pub fn subject(&self) -> &str {
        let name = self.name.strip_prefix("model ").unwrap_or(&self.name);
        name.split(' ').next().unwrap_or(name)
    }
}

impl Report {
    /// Of all outcomes on a device.
    pub fn new(
        outcomes: &[Outcome],
        device: String,
        driver: Option<String>,
        self_tests: BTreeMap<String, String>,
    ) -> Self {
        let checks: Vec<Check> = outcomes.iter().map(Check::from).collect();
        let count = |status| checks.iter().filter(|check| check.status == status).count();
        Self {
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            commit: env!("SELECTIV_COMMIT").to_owned(),
            device: Some(device),
            driver,
            passed: count(Status::Passed),
            failed: count(Status::Failed),
            skipped: count(Status::Skipped),
            self_tests,
            checks,
        }
    }

    /// Reads what `--json` printed.
    ///
    /// # Errors
    /// [`UserError`] if the file cannot be read or is no such report.
    pub fn read(path: &Path) -> Result<Self, UserError> {
        let text = files::read_text(path, MOST_BYTES).map_err(|e| UserError::Folder {
            path: path.to_owned(),
            reason: format!("cannot read this report: {e}"),
        })?;
        serde_json::from_str(&text).map_err(|e| UserError::Malformed {
            place: path.display().to_string(),
            message: format!("no output of `selectiv check --json`: {e}"),
        })
    }
}

//! What a run leaves in its folder beside its checkpoints: metrics, the result, `TensorBoard` events, a picture.

pub(crate) mod atomic;
#[cfg(feature = "cli")]
pub mod curve;
mod hparams;
pub mod metrics;
pub mod tensorboard;

use super::setup;
use crate::error::{Error, NumericError, Result, UserError};
use crate::files;
use crate::runtime::Variants;
use crate::tensor::Precision;
use serde::{Deserialize, Serialize};
use std::path::Path;

pub use metrics::{METRICS_FILE, Metrics, MetricsLog};

/// Largest result.
const MOST_BYTES: u64 = 1 << 20;
/// The learning curve of a finished run.
pub const CURVE_FILE: &str = "curve.svg";
/// The file of a run's [`RunResult`].
pub const RESULT_FILE: &str = "result.json";

/// The result of a run: `result.json`, and the line that `train` prints last. Scripts rely on names and order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// The task file's name without `.toml`.
    pub task: String,
    /// The model's name.
    pub model: String,
    /// Trainable values.
    pub params: u64,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Blocks.
    pub layers: usize,
    /// `train.seed`.
    pub seed: u64,
    /// Peak learning rate.
    pub lr: f64,
    /// Updates.
    pub steps: u64,
    /// Mean cross entropy on the test samples, in nats.
    pub loss: f64,
    /// Fraction of the test symbols whose state was told (models.md 4.12, `acc_valid`).
    pub accuracy: f64,
    /// 1 / classes.
    pub chance: f64,
    /// The ideal observer's accuracy on the same samples.
    pub ceiling: f64,
    /// The adapter's name, or `cpu`.
    pub device: String,
    /// `f32` or `mixed`.
    pub precision: String,
    /// Seconds of training.
    pub wall_s: f64,
    /// Updates per second.
    pub steps_per_s: f64,
    /// Unpadded time steps per second.
    pub tokens_per_s: f64,
    /// Most bytes of device memory held at once.
    pub peak_bytes: u64,
    /// Accuracy of always answering the most frequent class.
    pub baseline_constant: f64,
    /// Accuracy of the best answer to the current symbol alone.
    pub baseline_n1: f64,
    /// Accuracy of the bigram predictor: the best answer to the last two symbols.
    pub baseline_n2: f64,
    /// With `targets = "next"`: mean over the test samples' steps of the divergence KL(p || q), in nats, of the predicted
    /// probabilities of the next symbol from the true ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl: Option<f64>,
    /// The block of each layer; earlier versions did not say.
    #[serde(default)]
    pub blocks: Vec<String>,
    /// Heads, widths and switches of the gates, as `[model]` names them.
    #[serde(default)]
    pub sizes: serde_json::Map<String, serde_json::Value>,
    /// The variants of their kernels that ops with several ran in: none on the CPU; earlier versions did not say.
    #[serde(default)]
    pub variants: Variants,
    /// In mixed precision: updates that were left out because the loss scale was too large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<u64>,
}

impl RunResult {
    /// One line of JSON. Its last key, `checksum`, is blake3 of the line without it, in hex.
    pub fn to_json(&self) -> String {
        let line = serde_json::to_string(self).expect("numbers and strings have a JSON form");
        let open = line.strip_suffix('}').expect("an object ends with a brace");
        format!("{open},\"{CHECKSUM}\":\"{}\"}}", checksum(&line))
    }

    /// The model with all that tells it apart.
    pub fn model_text(&self) -> String {
        let mut text = setup::model_text(&self.model, &self.blocks, self.d_model, &self.sizes);
        if self.precision != Precision::F32.name() {
            text += &format!(", {} precision", self.precision);
        }
        text
    }

    /// What training went wrong by, if it did: a test loss above twice that of guessing.
    pub fn diverged(&self) -> Option<NumericError> {
        let limit = -2.0 * self.chance.ln();
        (self.loss.is_nan() || self.loss > limit).then(|| NumericError::Diverged {
            loss: format!("{:.4}", self.loss),
            limit: format!("{limit:.4}"),
        })
    }

    /// Writes `result.json` into a run's folder, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`]; an earlier result is untouched then.
    pub fn write(&self, dir: &Path) -> Result<()> {
        atomic::replace(&dir.join(RESULT_FILE), |out| writeln!(out, "{}", self.to_json()))
    }

    /// Reads `result.json` of a run's folder.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`UserError::Malformed`] with line and column if it is no result, or one that
    /// was altered. Results of the first version have no checksum.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(RESULT_FILE);
        let text = files::read(&path, MOST_BYTES).map_err(|source| Error::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        let malformed = |message: String| -> Error {
            let place = path.display().to_string();
            UserError::Malformed { place, message }.into()
        };
        let mut object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&text).map_err(|e| malformed(e.to_string()))?;
        if let Some(found) = object.shift_remove(CHECKSUM) {
            let line = serde_json::to_string(&object).expect("what was JSON has a JSON form");
            if found.as_str() != Some(checksum(&line).as_str()) {
                return Err(malformed("was altered: the checksum does not match".to_owned()));
            }
        }
        serde_json::from_value(object.into()).map_err(|e| malformed(e.to_string()))
    }
}

/// The key of the fingerprint in [`RunResult::to_json`].
const CHECKSUM: &str = "checksum";

fn checksum(line: &str) -> String {
    blake3::hash(line.as_bytes()).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result() -> RunResult {
        RunResult {
            task: "task1".to_owned(),
            model: "gated_delta_net".to_owned(),
            params: 5_000_000,
            d_model: 256,
            layers: 8,
            seed: 1,
            lr: 1e-3,
            steps: 3125,
            loss: 0.25,
            accuracy: 0.875,
            chance: 0.000_625,
            ceiling: 0.96,
            device: "cpu".to_owned(),
            precision: "f32".to_owned(),
            wall_s: 12.5,
            steps_per_s: 250.0,
            tokens_per_s: 6.4e6,
            peak_bytes: 1 << 33,
            baseline_constant: 0.01,
            baseline_n1: 0.02,
            baseline_n2: 0.03,
            kl: None,
            blocks: vec!["gated_delta_net".to_owned(); 8],
            sizes: setup::sizes(&crate::models::Sizes::new(256)),
            variants: [("linear".to_owned(), ["plain".to_owned()].into())].into(),
            skipped: None,
        }
    }

    #[test]
    fn result_has_the_promised_fields_in_order() {
        let json: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&result().to_json()).unwrap();
        let keys: Vec<_> = json.keys().map(String::as_str).collect();
        let promised = "task model params d_model layers seed lr steps loss accuracy chance ceiling device precision \
                        wall_s steps_per_s tokens_per_s peak_bytes baseline_constant baseline_n1 baseline_n2 blocks sizes variants checksum";
        assert_eq!(keys, promised.split_whitespace().collect::<Vec<_>>());
    }

    #[test]
    fn an_altered_result_is_refused_and_one_of_the_first_version_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(RESULT_FILE);
        let text = result().to_json();
        for (from, to) in [
            ("0.875", "0.975"),
            ("gated_delta_net", "gated_delta_met"),
            ("\"seed\":1", "\"seed\":2"),
        ] {
            assert!(text.contains(from));
            std::fs::write(&path, text.replace(from, to)).unwrap();
            let error = RunResult::read(dir.path()).unwrap_err();
            assert!(error.to_string().contains("was altered"), "{error}");
        }
        std::fs::write(&path, serde_json::to_string(&result()).unwrap()).unwrap();
        assert_eq!(RunResult::read(dir.path()).unwrap(), result());
    }

    #[test]
    fn a_loss_beyond_twice_guessing_has_diverged() {
        let with = |loss| RunResult { loss, ..result() }.diverged().is_some();
        // 2 ln(1600) = 14.76.
        assert_eq!(
            [0.2, 14.7, 14.8, f64::INFINITY, f64::NAN].map(with),
            [false, false, true, true, true]
        );
    }

    #[test]
    fn result_is_read_back_and_a_broken_one_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(RunResult::read(dir.path()).unwrap_err().exit_code(), 3);
        result().write(dir.path()).unwrap();
        assert_eq!(RunResult::read(dir.path()).unwrap(), result());
        let path = dir.path().join(RESULT_FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, result().to_json() + "\n");
        std::fs::write(&path, &text[..100]).unwrap();
        let error = RunResult::read(dir.path()).unwrap_err();
        assert!(
            error.exit_code() == 2 && error.to_string().contains("line 1 column 100"),
            "{error}"
        );
    }
}

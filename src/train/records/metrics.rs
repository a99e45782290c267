//! `metrics.jsonl`: one JSON object a logged step, appended, and cut back to the checkpoint on resume.

use crate::error::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The file of a run's metrics.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// One line. A number that is not finite is `null` in the file and NaN when read back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Updates done.
    pub step: u64,
    /// Time steps with a target of all these updates; where counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Mean cross entropy of the training samples since the last line, in nats.
    #[serde(deserialize_with = "number_or_nan")]
    pub loss: f64,
    /// Fraction of the validation symbols whose state was told; where evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Mean cross entropy of the validation samples, in nats; where evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_loss: Option<f64>,
    /// Accuracy on the training samples since the last line; where counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_accuracy: Option<f64>,
    /// Learning rate of the last update.
    #[serde(deserialize_with = "number_or_nan")]
    pub lr: f64,
    /// Global L2 norm of the last update's gradient, before clipping.
    #[serde(deserialize_with = "number_or_nan")]
    pub grad_norm: f64,
    /// Unpadded time steps per second since the last line.
    #[serde(deserialize_with = "number_or_nan")]
    pub tokens_per_s: f64,
}

fn number_or_nan<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

/// The open `metrics.jsonl` of a running run.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
}

impl MetricsLog {
    /// An empty log in a run's folder.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(dir: &Path) -> Result<Self> {
        Self::open(dir, |_| 0)
    }

    /// The log of a run that goes on from `step`: lines of later steps go, and a line that a kill cut off, so that
    /// nothing is there twice.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn resume(dir: &Path, step: u64) -> Result<Self> {
        Self::open(dir, |bytes| {
            let kept = whole_lines(bytes).take_while(|(_, line)| line.step <= step);
            kept.last().map_or(0, |(end, _)| end)
        })
    }

    /// Opens the log and cuts it to the length that `keep` finds in its bytes.
    fn open(dir: &Path, keep: impl FnOnce(&[u8]) -> usize) -> Result<Self> {
        let path = dir.join(METRICS_FILE);
        let opened = read_bytes(&path).and_then(|bytes| {
            let file = OpenOptions::new().create(true).append(true).open(&path)?;
            file.set_len(keep(&bytes) as u64)?;
            Ok(file)
        });
        match opened {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(Error::Io {
                action: "open",
                path,
                source,
            }),
        }
    }

    /// Appends a line. It survives a kill of the program at once, a power cut after [`MetricsLog::sync`].
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(&mut self, metrics: &Metrics) -> Result<()> {
        let mut line = serde_json::to_string(metrics).expect("numbers have a JSON form");
        line.push('\n');
        let written = self.file.write_all(line.as_bytes());
        written.map_err(|source| Error::Io {
            action: "write",
            path: self.path.clone(),
            source,
        })
    }

    /// Flushes to the disk. Call it before a checkpoint is saved, so that no power cut leaves a checkpoint whose
    /// metrics are missing.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync(&mut self) -> Result<()> {
        let synced = self.file.sync_data();
        synced.map_err(|source| Error::Io {
            action: "flush",
            path: self.path.clone(),
            source,
        })
    }
}

/// The whole lines of a run's metrics, up to the first that is none; empty if there is no file.
///
/// # Errors
/// [`Error::Io`].
pub fn read(dir: &Path) -> Result<Vec<Metrics>> {
    let path = dir.join(METRICS_FILE);
    match read_bytes(&path) {
        Ok(bytes) => Ok(whole_lines(&bytes).map(|(_, line)| line).collect()),
        Err(source) => Err(Error::Io {
            action: "read",
            path,
            source,
        }),
    }
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    match std::fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        outcome => outcome,
    }
}

/// The lines that are whole, each with the offset of its end, up to the first that is not.
fn whole_lines(bytes: &[u8]) -> impl Iterator<Item = (usize, Metrics)> {
    let mut end = 0;
    bytes.split_inclusive(|&b| b == b'\n').map_while(move |line| {
        end += line.len();
        let text = line.strip_suffix(b"\n")?;
        Some((end, serde_json::from_slice(text).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64) -> Metrics {
        Metrics {
            step,
            tokens: None,
            loss: 1.5,
            accuracy: step.is_multiple_of(2).then_some(0.25),
            validation_loss: None,
            train_accuracy: None,
            lr: 1e-3,
            grad_norm: 0.75,
            tokens_per_s: 1e5,
        }
    }

    fn steps(dir: &Path) -> Vec<u64> {
        read(dir).unwrap().iter().map(|m| m.step).collect()
    }

    #[test]
    fn lines_are_read_back_and_look_as_promised() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = MetricsLog::create(dir.path()).unwrap();
        for step in 1..=2 {
            log.append(&line(step)).unwrap();
        }
        log.sync().unwrap();
        assert_eq!(read(dir.path()).unwrap(), [line(1), line(2)]);
        let text = std::fs::read_to_string(dir.path().join(METRICS_FILE)).unwrap();
        assert_eq!(
            text.lines().nth(1).unwrap(),
            r#"{"step":2,"loss":1.5,"accuracy":0.25,"lr":0.001,"grad_norm":0.75,"tokens_per_s":100000.0}"#
        );
        MetricsLog::create(dir.path()).unwrap();
        assert!(steps(dir.path()).is_empty());
    }

    #[test]
    fn resume_doubles_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = MetricsLog::create(dir.path()).unwrap();
        for step in [10, 20, 30] {
            log.append(&line(step)).unwrap();
        }
        let mut log = MetricsLog::resume(dir.path(), 20).unwrap();
        log.append(&line(30)).unwrap();
        assert_eq!(steps(dir.path()), [10, 20, 30]);
        MetricsLog::resume(dir.path(), 9).unwrap();
        assert!(steps(dir.path()).is_empty());
    }

    #[test]
    fn a_line_cut_off_anywhere_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = MetricsLog::create(dir.path()).unwrap();
        log.append(&line(10)).unwrap();
        log.append(&line(20)).unwrap();
        let path = dir.path().join(METRICS_FILE);
        let whole = std::fs::read(&path).unwrap();
        let first = whole.iter().position(|&b| b == b'\n').unwrap() + 1;
        for length in first..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(steps(dir.path()), [10]);
            let mut log = MetricsLog::resume(dir.path(), 100).unwrap();
            log.append(&line(30)).unwrap();
            assert_eq!(steps(dir.path()), [10, 30], "cut to {length} bytes");
        }
    }

    #[test]
    fn a_file_of_the_disks_zeros_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(METRICS_FILE), [0; 64]).unwrap();
        assert!(steps(dir.path()).is_empty());
        MetricsLog::resume(dir.path(), 100)
            .unwrap()
            .append(&line(1))
            .unwrap();
        assert_eq!(steps(dir.path()), [1]);
    }

    #[test]
    fn what_is_not_finite_stays_readable() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = MetricsLog::create(dir.path()).unwrap();
        log.append(&Metrics {
            loss: f64::NAN,
            grad_norm: f64::INFINITY,
            ..line(1)
        })
        .unwrap();
        log.append(&line(3)).unwrap();
        let found = read(dir.path()).unwrap();
        assert!(found[0].loss.is_nan() && found[0].grad_norm.is_nan());
        assert_eq!(found[1], line(3));
    }

    #[test]
    fn a_missing_folder_is_an_error_to_write_and_empty_to_read() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        assert!(read(&missing).unwrap().is_empty());
        assert_eq!(MetricsLog::create(&missing).unwrap_err().exit_code(), 3);
    }
}

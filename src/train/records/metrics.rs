//! `metrics.jsonl`: one JSON object a logged step, appended, and cut back to the checkpoint on resume.

use super::atomic;
use crate::error::{Error, Result, UserError};
use crate::files;
use serde::de::IgnoredAny;
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

impl Metrics {
    /// Its numbers as split, metric and value; none where nothing was counted or evaluated.
    pub(crate) fn numbers(&self) -> [(&'static str, &'static str, Option<f64>); 7] {
        [
            ("train", "loss", Some(self.loss)),
            ("train", "accuracy", self.train_accuracy),
            ("train", "lr", Some(self.lr)),
            ("train", "grad_norm", Some(self.grad_norm)),
            ("train", "tokens_per_s", Some(self.tokens_per_s)),
            ("validation", "loss", self.validation_loss),
            ("validation", "accuracy", self.accuracy),
        ]
    }
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
        Self::open(dir, 0)
    }

    /// The log of a run that goes on from `step`: lines of later steps go, and a line that a kill cut off, so that
    /// nothing is there twice. A file with other damage is kept beside, and `say` hears of it; its good lines stay.
    ///
    /// # Errors
    /// [`Error::Io`]; [`UserError::Folder`] if something else than a file is in its place.
    pub fn resume(dir: &Path, step: u64, say: &mut dyn FnMut(&str)) -> Result<Self> {
        let path = dir.join(METRICS_FILE);
        refuse_other_kinds(&path)?;
        let bytes = read_bytes(&path).map_err(|source| failed("read", &path, source))?;
        let (lines, damaged) = whole_lines(&bytes);
        if damaged > 0 {
            let kept = set_aside(&path)?;
            say(&format!(
                "{}: {damaged} damaged lines were left out; the file as it was is {}",
                path.display(),
                kept.display()
            ));
        }
        let lines = lines.into_iter().filter(|(_, line)| line.step <= step);
        let good: Vec<u8> = lines.flat_map(|(text, _)| text).copied().collect();
        if bytes.starts_with(&good) {
            return Self::open(dir, good.len());
        }
        atomic::replace(&path, |out| out.write_all(&good))?;
        Self::open(dir, good.len())
    }

    /// Opens the log and cuts it to a length.
    fn open(dir: &Path, length: usize) -> Result<Self> {
        let path = dir.join(METRICS_FILE);
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        let opened = opened.and_then(|file| file.set_len(length as u64).map(|()| file));
        match opened {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(failed("open", &path, source)),
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

/// The whole lines of a run's metrics; empty if there is no file.
///
/// # Errors
/// [`Error::Io`].
pub fn read(dir: &Path) -> Result<Vec<Metrics>> {
    let path = dir.join(METRICS_FILE);
    let bytes = read_bytes(&path).map_err(|source| failed("read", &path, source))?;
    Ok(whole_lines(&bytes).0.into_iter().map(|(_, line)| line).collect())
}

/// Refuses a link, a folder or a device in the place of the metrics: writing would change what is not this run's.
///
/// # Errors
/// [`UserError::Folder`].
pub fn refuse_other_kinds(path: &Path) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => Err(UserError::Folder {
            path: path.to_owned(),
            reason: "is no file of its own but a link, a folder or a device; remove it".to_owned(),
        }
        .into()),
        _ => Ok(()),
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    Error::Io { action, path, source }
}

/// Copies a damaged file to a name beside it that is free.
fn set_aside(path: &Path) -> Result<PathBuf> {
    let free = files::beside(path);
    std::fs::copy(path, &free).map_err(|source| failed("copy", path, source))?;
    Ok(free)
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    match files::read_large(path, 3) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        outcome => outcome,
    }
}

/// The lines that are whole, each with its text, and how many are damaged. What stands after the last line end was cut
/// off by a kill, which is no damage, unless it is more than a line.
fn whole_lines(bytes: &[u8]) -> (Vec<(&[u8], Metrics)>, usize) {
    let mut lines = Vec::new();
    let mut damaged = 0;
    for text in bytes.split_inclusive(|&b| b == b'\n') {
        let Some(line) = text.strip_suffix(b"\n") else {
            let mut objects = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
            damaged += usize::from(matches!(objects.next(), Some(Ok(_))) && objects.next().is_some());
            break;
        };
        match serde_json::from_slice(line) {
            Ok(line) => lines.push((text, line)),
            Err(_) => damaged += 1,
        }
    }
    (lines, damaged)
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
        let mut log = resumed(dir.path(), 20);
        log.append(&line(30)).unwrap();
        assert_eq!(steps(dir.path()), [10, 20, 30]);
        resumed(dir.path(), 9);
        assert!(steps(dir.path()).is_empty());
    }

    /// Goes on from a file that has nothing wrong.
    fn resumed(dir: &Path, step: u64) -> MetricsLog {
        MetricsLog::resume(dir, step, &mut |text| panic!("{text}")).unwrap()
    }

    #[test]
    fn a_damaged_line_costs_no_other_and_the_file_is_kept_beside() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = MetricsLog::create(dir.path()).unwrap();
        for step in 1..=9 {
            log.append(&line(step)).unwrap();
        }
        let path = dir.path().join(METRICS_FILE);
        let whole = std::fs::read(&path).unwrap();
        for (round, (at, byte)) in [(0, b'!'), (whole.len() / 2, 0xff), (12, b'\n')]
            .into_iter()
            .enumerate()
        {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(steps(dir.path()).len(), 8);
            let mut said = Vec::new();
            MetricsLog::resume(dir.path(), 7, &mut |text| said.push(text.to_owned())).unwrap();
            assert!(said.len() == 1 && said[0].contains("damaged"), "{said:?}");
            let left = steps(dir.path());
            assert!(
                left.len() >= 6 && left.is_sorted() && left[left.len() - 1] == 7,
                "{left:?}"
            );
            let kept = [
                "metrics.jsonl.damaged",
                "metrics.jsonl.damaged-2",
                "metrics.jsonl.damaged-3",
            ][round];
            assert_eq!(std::fs::read(dir.path().join(kept)).unwrap(), bytes);
            resumed(dir.path(), 7);
        }
    }

    #[test]
    fn lines_that_ran_together_at_the_end_are_kept_beside() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = MetricsLog::create(dir.path()).unwrap();
        for step in 1..=3 {
            log.append(&line(step)).unwrap();
        }
        let path = dir.path().join(METRICS_FILE);
        let whole = std::fs::read_to_string(&path).unwrap();
        let joined = whole.replace("}\n{", "}{");
        std::fs::write(&path, joined.trim_end()).unwrap();
        let mut said = Vec::new();
        MetricsLog::resume(dir.path(), 3, &mut |text| said.push(text.to_owned())).unwrap();
        assert!(said.len() == 1 && said[0].contains("damaged"), "{said:?}");
    }

    #[test]
    #[cfg(unix)]
    fn a_link_in_its_place_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("other");
        std::fs::write(&other, "mine\n").unwrap();
        std::os::unix::fs::symlink(&other, dir.path().join(METRICS_FILE)).unwrap();
        let error = MetricsLog::resume(dir.path(), 7, &mut |_| {}).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "mine\n");
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
            let mut log = resumed(dir.path(), 100);
            log.append(&line(30)).unwrap();
            assert_eq!(steps(dir.path()), [10, 30], "cut to {length} bytes");
        }
    }

    #[test]
    fn a_file_of_the_disks_zeros_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(METRICS_FILE), [0; 64]).unwrap();
        assert!(steps(dir.path()).is_empty());
        resumed(dir.path(), 100).append(&line(1)).unwrap();
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

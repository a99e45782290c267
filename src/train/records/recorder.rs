//! What a run leaves in its folder beside its checkpoints.

#[cfg(feature = "cli")]
use super::curve;
use super::tensorboard::EventWriter;
use super::{Metrics, MetricsLog, RunResult};
use crate::error::Result;
use crate::train::Row;
use std::path::{Path, PathBuf};

/// Writes metrics as they come, and the result at the end.
pub struct Recorder {
    folder: PathBuf,
    metrics: MetricsLog,
    events: EventWriter,
}

impl Recorder {
    /// For a run that begins (or goes on) after so many updates: what an earlier attempt wrote of later ones goes.
    ///
    /// # Errors
    /// [`crate::error::Error::Io`], as of all functions here.
    pub fn open(folder: &Path, step: u64) -> Result<Self> {
        Ok(Self {
            folder: folder.to_owned(),
            metrics: MetricsLog::resume(folder, step)?,
            events: EventWriter::create(folder, step)?,
        })
    }

    /// Adds a line.
    pub fn row(&mut self, row: &Row) -> Result<()> {
        let line = Metrics {
            step: row.step,
            loss: row.loss,
            accuracy: row.evaluation.map(|score| score.accuracy),
            validation_loss: row.evaluation.map(|score| score.loss),
            train_accuracy: Some(row.train_accuracy),
            lr: row.lr,
            grad_norm: row.grad_norm,
            tokens_per_s: row.tokens_per_s,
        };
        self.metrics.append(&line)?;
        self.events.append(&line)
    }

    /// Flushes to the disk what a checkpoint that comes next relies on.
    pub fn sync(&mut self) -> Result<()> {
        self.metrics.sync()
    }

    /// Draws the learning curve (where the program is built, which brings what draws), and then writes the result: a
    /// folder that has it is a finished run.
    pub fn finish(&mut self, result: &RunResult) -> Result<()> {
        #[cfg(feature = "cli")]
        curve::of_run(&self.folder, result)?;
        result.write(&self.folder)
    }
}

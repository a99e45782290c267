//! What a run leaves in its folder beside its checkpoints.

#[cfg(feature = "cli")]
use super::records::curve;
use super::records::tensorboard::EventWriter;
use super::records::{Metrics, MetricsLog, RunResult};
use crate::error::Result;
use crate::train::claim::Claim;
use crate::train::{Row, folder};

/// Writes metrics as they come, and the result at the end.
pub struct Recorder {
    claim: Claim,
    /// What makes the folder a run: written again if somebody removed it.
    config: Vec<u8>,
    metrics: MetricsLog,
    events: EventWriter,
}

impl Recorder {
    /// For a run in a claimed folder that begins, or goes on after the row of so many updates ([`Session::logged`]): what
    /// an earlier attempt wrote of later ones goes. `say` hears of damage.
    ///
    /// # Errors
    /// Those of [`MetricsLog::resume`]; [`crate::error::Error::Io`], and [`crate::error::Error::ClaimLost`] with nothing
    /// written, as of all functions here.
    ///
    /// [`Session::logged`]: crate::train::Session::logged
    pub fn open(claim: Claim, logged: u64, say: &mut dyn FnMut(&str)) -> Result<Self> {
        claim.check()?;
        let config = folder::config_text(claim.folder())?;
        let metrics = MetricsLog::resume(claim.folder(), logged, say)?;
        let mut events = EventWriter::create(claim.folder(), logged)?;
        events.begin(&String::from_utf8_lossy(&config))?;
        Ok(Self {
            claim,
            config,
            metrics,
            events,
        })
    }

    /// Looks whether the folder is still this process's.
    pub fn check(&self) -> Result<()> {
        self.claim.check()
    }

    /// Adds a line.
    pub fn row(&mut self, row: &Row) -> Result<()> {
        let line = Metrics {
            step: row.step,
            tokens: Some(row.tokens),
            loss: row.loss,
            accuracy: row.evaluation.map(|score| score.accuracy),
            validation_loss: row.evaluation.map(|score| score.loss),
            train_accuracy: Some(row.train_accuracy),
            lr: row.lr,
            grad_norm: row.grad_norm,
            tokens_per_s: row.tokens_per_s,
        };
        self.check()?;
        self.metrics.append(&line)?;
        self.events.append(&line)
    }

    /// Flushes to the disk what a checkpoint that comes next relies on.
    pub fn sync(&mut self) -> Result<()> {
        self.check()?;
        folder::keep_config(self.claim.folder(), &self.config)?;
        self.metrics.sync()
    }

    /// Draws the learning curve (where the program is built, which brings what draws), and then writes the result: a
    /// folder that has it is a finished run.
    pub fn finish(&mut self, result: &RunResult) -> Result<()> {
        self.check()?;
        #[cfg(feature = "cli")]
        curve::of_run(self.claim.folder(), result)?;
        self.events.finish(result)?;
        folder::keep_config(self.claim.folder(), &self.config)?;
        result.write(self.claim.folder())
    }
}

//! What every command takes: `--device` and `--precision`, what it computes on; `-q` and `-v`, how much it says.

use super::print;
use crate::error::{Error, Result, UserError};
use crate::tensor::Precision;
use crate::train::{Executor, Target};

use clap::Args;

/// The flags of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// What to compute on; auto: the best real GPU, else the CPU (models, weights, grammar and data use none)
    #[arg(long, global = true, value_name = "auto|cpu|gpu:N", default_value = "auto")]
    pub device: String,
    /// Storage of activations on the device; auto: f32, or that of a run that is continued
    #[arg(long, global = true, value_name = "auto|f32|mixed", default_value = "auto")]
    pub precision: String,
    /// Say nothing but the result
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more, and show more columns
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
}

/// How much is said: nothing, progress, or everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verbosity {
    /// `-q`
    Quiet,
    /// Neither.
    Normal,
    /// `-v`
    Verbose,
}

impl Verbosity {
    /// Prints a line unless it is quiet.
    pub(super) fn say(self, text: &str) {
        if self > Self::Quiet {
            print::message(text);
        }
    }

    /// Prints the result of a command that has written a file; what went into a stream is for standard error, since
    /// the stream may be standard output itself.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be printed.
    pub(super) fn written(self, target: &Target, text: &str) -> Result<()> {
        if target.is_stream() {
            self.say(text);
            return Ok(());
        }
        print::result(text)
    }
}

impl Common {
    pub(super) fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }

    /// The precision that is asked for; `None` for `auto`.
    ///
    /// # Errors
    /// [`UserError::Value`] for what is not offered.
    pub fn precision(&self) -> Result<Option<Precision>> {
        match self.precision.as_str() {
            "auto" => Ok(None),
            "f32" => Ok(Some(Precision::F32)),
            "mixed" => Ok(Some(Precision::Mixed)),
            _ => Err(self.refused("auto, f32 or mixed")),
        }
    }

    /// What [`Common::open`] refuses without looking for a device, for commands that use none.
    ///
    /// # Errors
    /// [`UserError::Unknown`] for a name that no device has, and those of [`Common::precision`].
    pub(super) fn refuse_nonsense(&self) -> Result<()> {
        self.precision()?;
        let number = self.device.strip_prefix("gpu:").map(str::parse::<u32>);
        if matches!(self.device.as_str(), "auto" | "cpu") || matches!(number, Some(Ok(_))) {
            return Ok(());
        }
        Err(UserError::Unknown {
            what: "device",
            name: self.device.clone(),
            allowed: "auto, cpu, gpu:N".to_owned(),
        }
        .into())
    }

    /// Refuses mixed precision, for commands that compute in f32.
    ///
    /// # Errors
    /// [`UserError::Value`].
    pub(super) fn only_f32(&self, what: &str) -> Result<()> {
        match self.precision()? {
            Some(Precision::Mixed) => Err(self.refused(&format!("auto or f32: {what}"))),
            _ => Ok(()),
        }
    }

    fn refused(&self, allowed: &str) -> Error {
        UserError::Value {
            place: "command line".to_owned(),
            field: "--precision".to_owned(),
            found: self.precision.clone(),
            allowed: allowed.to_owned(),
        }
        .into()
    }

    /// Opens the device. `say` hears which one and why.
    ///
    /// # Errors
    /// Those of [`Common::precision`] and [`Executor::open`], and if the device does not have the precision.
    pub fn open(&self, say: &mut dyn FnMut(&str)) -> Result<Executor> {
        let precision = self.precision()?.unwrap_or_default();
        let executor = Executor::open(&self.device, say)?;
        executor.check(precision)?;
        Ok(executor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_refuses_mixed() {
        let args = |precision: &str| Common {
            device: "cpu".to_owned(),
            precision: precision.to_owned(),
            quiet: false,
            verbose: false,
        };
        for (given, allowed) in [("mixed", "mixed needs a GPU"), ("bf16", "auto, f32 or mixed")] {
            let Err(error) = args(given).open(&mut |_| {}) else {
                panic!("{given} was taken");
            };
            assert_eq!(error.exit_code(), 2);
            let text = error.to_string();
            assert!(
                text.contains(&format!("--precision = {given}")) && text.contains(allowed),
                "{text}"
            );
        }
        assert_eq!(args("auto").precision().unwrap(), None);
        assert!(args("mixed").only_f32("it").is_err() && args("f32").only_f32("it").is_ok());
    }
}

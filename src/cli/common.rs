//! What every command takes: `--device` and `--precision`, what it computes on; `-q` and `-v`, how much it says.

use super::print;
use crate::error::{Result, UserError};
use crate::train::Executor;
use clap::Args;

/// The flags of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// What to compute on; auto: the best real GPU, else the CPU (models, weights, grammar and data use none)
    #[arg(long, global = true, value_name = "auto|cpu|gpu:N", default_value = "auto")]
    pub device: String,
    /// Storage of activations on the device; auto: f32
    #[arg(long, global = true, value_name = "auto|f32", default_value = "auto")]
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
}

impl Common {
    pub(super) fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }

    /// The precision as results name it.
    ///
    /// # Errors
    /// [`UserError::Value`] for what is not offered.
    pub fn precision(&self) -> Result<&'static str> {
        match self.precision.as_str() {
            "auto" | "f32" => Ok("f32"),
            other => Err(UserError::Value {
                place: "command line".to_owned(),
                field: "--precision".to_owned(),
                found: other.to_owned(),
                allowed: if other == "mixed" {
                    "auto or f32 (mixed is not available yet)".to_owned()
                } else {
                    "auto or f32".to_owned()
                },
            }
            .into()),
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

    /// Opens the device. `say` hears which one and why.
    ///
    /// # Errors
    /// Those of [`Common::precision`] and [`Executor::open`].
    pub fn open(&self, say: &mut dyn FnMut(&str)) -> Result<Executor> {
        self.precision()?;
        Executor::open(&self.device, say)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_is_refused_until_it_exists() {
        let args = |precision: &str| Common {
            device: "cpu".to_owned(),
            precision: precision.to_owned(),
            quiet: false,
            verbose: false,
        };
        let Err(error) = args("mixed").open(&mut |_| {}) else {
            panic!("mixed was taken");
        };
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--precision = mixed"), "{error}");
        assert_eq!(args("auto").precision().unwrap(), "f32");
    }
}

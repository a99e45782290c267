//! `--device` and `--precision`: what a command computes on.

use crate::error::{Result, UserError};
use crate::train::Executor;
use clap::Args;

/// Where to compute, for every command that does.
#[derive(Debug, Clone, Args)]
pub struct DeviceArgs {
    /// What to compute on; auto: the best real GPU, else the CPU
    #[arg(long, value_name = "auto|cpu|gpu:N", default_value = "auto")]
    pub device: String,
    /// Storage of activations; auto: f32
    #[arg(long, value_name = "auto|f32", default_value = "auto")]
    pub precision: String,
}

impl DeviceArgs {
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

    /// Opens the device. `say` hears which one and why.
    ///
    /// # Errors
    /// Those of [`DeviceArgs::precision`] and [`Executor::open`].
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
        let args = |precision: &str| DeviceArgs {
            device: "cpu".to_owned(),
            precision: precision.to_owned(),
        };
        let Err(error) = args("mixed").open(&mut |_| {}) else {
            panic!("mixed was taken");
        };
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--precision = mixed"), "{error}");
        assert_eq!(args("auto").precision().unwrap(), "f32");
    }
}

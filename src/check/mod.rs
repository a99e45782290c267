//! Proof that ops and models are right on the device at hand: goldens, and every kernel against the f64 twin.

mod compared;
mod composite;
pub mod golden;
mod grammars;
mod index;
mod kernels;
mod optimiser;
mod report;
pub mod source;
#[cfg(test)]
mod tests;
mod training;

pub use golden::Precision;
pub use grammars::grammars;
pub use kernels::{cases, kernels};
pub use report::{Check, Report, Status};
pub use source::Source;
#[cfg(test)]
pub(crate) use training::switched;
pub use training::{trained, training};

use crate::cases::Deviation;
use crate::error::Result;

/// Hears what became of each check; an error of its own ends them.
pub type Hear<'a> = dyn FnMut(Outcome) -> Result<()> + 'a;

/// Checks that the golden files of a source list: of ops and models once a device, and of grammars.
///
/// # Errors
/// [`crate::error::UserError::Malformed`] for lists that cannot be read.
pub fn listed(source: &Source) -> Result<[usize; 2]> {
    let on_devices = golden::listed(source)?;
    Ok([on_devices, grammars::listed(source)?])
}

/// What became of one check.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Entry or case, such as `delta_rule aligned`.
    pub name: String,
    /// Device.
    pub device: String,
    /// The variant of its kernels, where it was run by name.
    pub variant: Option<String>,
    /// What was compared, or why it was skipped.
    pub result: std::result::Result<Vec<Deviation>, String>,
}

impl Outcome {
    fn new(name: &str, device: &str, deviations: Vec<Deviation>) -> Self {
        Self {
            name: name.to_owned(),
            device: device.to_owned(),
            variant: None,
            result: Ok(deviations),
        }
    }

    /// The same of a variant.
    #[must_use]
    pub fn of(self, variant: Option<&str>) -> Self {
        Self {
            variant: variant.map(str::to_owned),
            ..self
        }
    }

    /// A check that was not made.
    pub fn skipped(name: &str, device: &str, reason: &str) -> Self {
        Self {
            name: name.to_owned(),
            device: device.to_owned(),
            variant: None,
            result: Err(reason.to_owned()),
        }
    }

    /// The tensor that is worst against what is allowed.
    pub fn worst(&self) -> Option<&Deviation> {
        let ratio = |d: &Deviation| {
            if d.error.is_nan() {
                f64::INFINITY
            } else {
                d.error / d.allowed
            }
        };
        self.result
            .as_ref()
            .ok()?
            .iter()
            .max_by(|a, b| ratio(a).total_cmp(&ratio(b)))
    }

    /// Whether all tensors are within what is allowed; skipped ones are not.
    pub fn passed(&self) -> bool {
        self.result
            .as_ref()
            .is_ok_and(|d| d.iter().all(Deviation::passed))
    }
}

//! Widths of equal budget: as many parameters, or as large a state, for every model.

use super::file::Budget;
use super::shared::{lock, state_bytes, to_toml};
use crate::config::Config;
use crate::error::{Result, UserError};
use crate::models::head_count;
use crate::tasks::{DataSet, Split};
use crate::train::setup;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

/// Widths that are tried are multiples of this one: heads of 4, 8, 12, .. channels.
const STEP: usize = 16;
/// The widest.
const WIDEST: usize = 16_384;
/// How far off the nearest width may be.
const TOLERANCE: f64 = 0.1;

/// Widths that were found, by model and sizes.
#[derive(Default)]
pub(super) struct Widths(Mutex<HashMap<String, usize>>);

impl Widths {
    /// The configuration with the width that comes nearest to the budget.
    ///
    /// # Errors
    /// [`UserError::Value`] if none comes within 10 %; what else is wrong with the configuration.
    pub(super) fn choose(
        &self,
        budget: Budget,
        task: &Path,
        overrides: &[(String, String)],
        model: Option<&str>,
        data: &DataSet,
        place: &str,
    ) -> Result<Config> {
        let at = |width: usize| -> Result<Config> {
            let mut overrides = overrides.to_vec();
            overrides.push(("model.d_model".to_owned(), width.to_string()));
            Config::load(task, &overrides)
        };
        let cost = |width: usize| -> Result<f64> {
            let config = at(width)?;
            let model = setup::model(&config, model, data.grammar())?;
            Ok(match budget {
                Budget::Params(_) => model.param_count()? as f64,
                Budget::StateBytes(_) => state_bytes(&model, data.max_steps(Split::Train))? as f64,
            })
        };
        let start = at(STEP)?;
        let (vocab, classes) = (data.grammar().vocab(), data.grammar().classes());
        let key = format!(
            "{model:?} {vocab} {classes} {budget:?}\n{}",
            to_toml(&start.model)
        );
        let known = lock(&self.0).get(&key).copied();
        let width = match known {
            Some(width) => width,
            None => {
                let (width, found) = nearest(budget.wanted(), cost)?;
                if (found / budget.wanted() - 1.0).abs() > TOLERANCE {
                    let name = model.unwrap_or("this stack");
                    return Err(UserError::Value {
                        place: place.to_owned(),
                        field: "match".to_owned(),
                        found: format!("{}", budget.wanted()),
                        allowed: format!("what a width comes near: {name} of width {width} has {found}"),
                    }
                    .into());
                }
                lock(&self.0).insert(key, width);
                width
            }
        };
        at(width)
    }
}

/// The width whose cost is nearest, and the cost. Widths that a model cannot have are passed over.
fn nearest(wanted: f64, cost: impl Fn(usize) -> Result<f64>) -> Result<(usize, f64)> {
    let widths: Vec<usize> = (STEP..=WIDEST)
        .step_by(STEP)
        .filter(|w| head_count(*w).is_some())
        .collect();
    // Costs grow with the width, so the first one at or above what is wanted is found by halving.
    let (mut low, mut high) = (0, widths.len());
    let mut reason = None;
    let mut best: Option<(usize, f64)> = None;
    let mut consider = |width: usize, found: f64| {
        if best.is_none_or(|(_, old)| (found - wanted).abs() < (old - wanted).abs()) {
            best = Some((width, found));
        }
    };
    while low < high {
        let middle = low.midpoint(high);
        let mut found = None;
        for &width in &widths[middle..high] {
            match cost(width) {
                Ok(cost) => {
                    consider(width, cost);
                    found = Some(cost);
                    break;
                }
                Err(e) => reason = Some(e),
            }
        }
        match found {
            Some(cost) if cost < wanted => low = middle + 1,
            _ => high = middle,
        }
    }
    match (best, reason) {
        (Some(best), _) => Ok(best),
        (None, Some(reason)) => Err(reason),
        (None, None) => unreachable!("there are widths to try"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_width_is_found_on_either_side() {
        let square = |width: usize| Ok((width * width) as f64);
        assert_eq!(nearest(1.01e6, square).unwrap(), (1008, 1_016_064.0));
        assert_eq!(nearest(1.0, square).unwrap().0, STEP);
        assert_eq!(nearest(1e12, square).unwrap().0, WIDEST);
        let odd = |width: usize| match width {
            1008 => Err(UserError::Shape {
                op: "model",
                reason: "no".to_owned(),
            }
            .into()),
            width => square(width),
        };
        assert_eq!(nearest(1.01e6, odd).unwrap().0, 992);
    }
}

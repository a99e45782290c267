//! Matrix units are only used where a short test of them has passed: on some GPU generations accumulators that are
//! carried through a loop race, and some drivers fold the split of an operand away. Both give wrong numbers silently.

use super::cache::CacheFile;
use super::device::{Gpu, Options};
use super::runtime::GpuRuntime;
use crate::cases::{Case, Deviation, Fill, Values, compare};
use crate::cpu::CpuRuntime;
use crate::error::Result;
use crate::ops::Decay;
use crate::ops::attention::Attention;
use crate::ops::delta_rule::DeltaRule;
use crate::ops::linear::Linear;

/// What the cache file says when the test has passed.
const PASSED: &[u8] = b"matrix units passed\n";

/// The device, without matrix units if they fail their test; `say` then hears why, and about damage to what was kept on
/// disk. The verdict is kept per adapter, driver and program version.
///
/// # Errors
/// The driver's, if the device cannot be opened once more without matrix units.
pub fn trusted(gpu: Gpu, say: &mut dyn FnMut(&str)) -> Result<Gpu> {
    if let Some(damage) = &gpu.cache_damage {
        say(damage);
    }
    if !gpu.caps().coop {
        return Ok(gpu);
    }
    let file = CacheFile::of(&gpu.info(), "selftest");
    let kept = file.as_ref().and_then(|file| file.load().ok().flatten());
    if kept.is_some_and(|verdict| verdict == PASSED) {
        return Ok(gpu);
    }
    let found = test(&gpu);
    let wrong = match &found {
        Ok(deviations) => deviations
            .iter()
            .find(|d| !d.passed())
            .map(|d| format!("{} is off by {:.1e}", d.tensor, d.error)),
        Err(e) => Some(e.to_string()),
    };
    match wrong {
        None => {
            if let Some(file) = file {
                file.store(PASSED);
            }
            Ok(gpu)
        }
        Some(wrong) => {
            say(&format!(
                "matrix units failed their self-test ({wrong}): plain f32 kernels are used"
            ));
            gpu.reopen(Options {
                coop: false,
                ..gpu.options
            })
        }
    }
}

/// Every family of kernels for matrix units, forward and backward.
fn test(gpu: &Gpu) -> Result<Vec<Deviation>> {
    let mut all = Vec::new();
    for case in [product(), attention(), recurrence()] {
        let oracle = case.run(&mut CpuRuntime::<f64>::new())?;
        let got = case.run(&mut GpuRuntime::new(gpu.reopen(gpu.options)?))?;
        all.extend(compare(&case, &got, &oracle));
    }
    Ok(all)
}

/// Tails in every direction, and long enough in K to carry accumulators.
fn product() -> Case {
    let (rows, inp, out) = (1000, 330, 162);
    let mut fill = Fill::new(1);
    let inputs = [rows * inp, out * inp, out].map(|n| Values::Real(fill.normal(n)));
    let op = Linear {
        rows,
        inp,
        out,
        bias: true,
    };
    Case::new("self-test", op, inputs.to_vec())
}

/// Tails, and queries so large that running maxima grow.
fn attention() -> Case {
    let op = Attention {
        b: 1,
        t: 203,
        h: 2,
        d: 72,
        scale: 0.5,
        forget: false,
    };
    let mut fill = Fill::new(2);
    let inputs = [(); 3].map(|()| Values::Real(fill.normal(op.b * op.t * op.h * op.d)));
    Case::new("self-test", op, inputs.to_vec())
}

/// Products of tiles of every kind, over chunks that are partly filled, with two rows a token.
fn recurrence() -> Case {
    let op = DeltaRule {
        b: 1,
        t: 70,
        h: 2,
        d_k: 72,
        d_v: 100,
        scale: 0.1,
        decay: Decay::Scalar,
        householder: 2,
        chunk: 64,
    };
    let rows = op.t * op.householder * op.h;
    let mut fill = Fill::new(3);
    let q = fill.unit_rows(op.t * op.h, op.d_k);
    let k = fill.unit_rows(rows, op.d_k);
    let v = fill.normal(rows * op.d_v);
    let beta = fill.uniform(rows, 0.0, 1.0);
    let log_decays = fill.uniform(op.t * op.h, -0.3, 0.0);
    let inputs = [q, k, v, beta, log_decays].map(Values::Real);
    Case::new("self-test", op, inputs.to_vec())
}

//! Every op on a device, forward and all gradients, at hostile shapes, against the f64 twin.

use super::{Hear, Outcome};
use crate::cases::{Case, compare};
use crate::cpu::CpuRuntime;
use crate::error::Result;
use crate::runtime::Runtime;
use crate::tensor::Precision;

/// The cases of all ops; without `long`, not those of thousands of steps: they are slow on software Vulkan.
pub fn cases(long: bool) -> Vec<Case> {
    let mut all = crate::ops::cases::cases();
    all.retain(|case| long || !case.long);
    all
}

/// Runs cases. On a GPU all are run in the `variant` of that name, which is on the outcomes; on the CPU by the twins. In
/// mixed precision the f64 twin is given the same rounded values.
pub fn kernels(
    cases: &[Case],
    runtime: &mut dyn Runtime,
    precision: Precision,
    variant: Option<&str>,
    report: &mut Hear<'_>,
) -> Result<()> {
    for case in cases {
        let case = &match precision {
            Precision::F32 => case.clone(),
            Precision::Mixed => case.clone().in_mixed(),
        };
        let oracle = case.run(&mut CpuRuntime::<f64>::new())?;
        let name = format!("{} {}", case.op.name(), case.name);
        if precision == Precision::Mixed && !case.fits_half(&oracle) {
            let reason = "its values or results are beyond what an f16 holds";
            report(Outcome::skipped(&name, &runtime.device(), reason).of(variant))?;
            continue;
        }
        let got = case.run_in(precision, runtime);
        runtime.reset();
        let outcome = Outcome::new(&name, &runtime.device(), compare(case, &got?, &oracle));
        report(outcome.of(variant))?;
    }
    Ok(())
}

//! Every op on a device, forward and all gradients, at hostile shapes, against the f64 twin.

use super::{Outcome, compare};
use crate::cpu::CpuRuntime;
use crate::error::Result;
use crate::runtime::Runtime;

/// Runs all cases of all ops; `variant` names the kernels that the runtime chooses.
pub fn kernels(runtime: &mut dyn Runtime, variant: &str, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    for case in crate::ops::cases() {
        let oracle = case.run(&mut CpuRuntime::<f64>::new())?;
        let got = case.run(runtime);
        runtime.reset();
        let name = format!("{} {}", case.op.name(), case.name);
        report(Outcome::new(&name, variant, compare(&case, &got?, &oracle)));
    }
    Ok(())
}

//! Every op on a device, forward and all gradients, at hostile shapes, against the f64 twin.

use super::Outcome;
use crate::cases::compare;
use crate::cpu::CpuRuntime;
use crate::error::Result;
use crate::runtime::Runtime;

/// Runs all cases of all ops; `variant` names the kernels that the runtime chooses. Without `long`, cases of thousands
/// of steps are left out and not reported: they are slow on software Vulkan.
pub fn kernels(
    runtime: &mut dyn Runtime,
    variant: &str,
    long: bool,
    report: &mut dyn FnMut(Outcome),
) -> Result<()> {
    for case in crate::ops::cases::cases()
        .into_iter()
        .filter(|case| long || !case.long)
    {
        let oracle = case.run(&mut CpuRuntime::<f64>::new())?;
        let got = case.run(runtime);
        runtime.reset();
        let name = format!("{} {}", case.op.name(), case.name);
        report(Outcome::new(&name, variant, compare(&case, &got?, &oracle)));
    }
    Ok(())
}

//! What the adapter at hand can do at best: the roof that kernels are compared with.

use super::{Gpu, GpuRuntime};
use crate::error::Result;
use crate::graph::{Graph, Output};
use crate::ops::add::Add;
use crate::runtime::Runtime;
use crate::step::StepParams;
use crate::tensor::Dtype;
use std::time::{Duration, Instant};

/// Elements of the tensors: 128 MiB at most, more than any cache.
const MOST: usize = 32 << 20;
/// An idle card starts at low clocks.
const WARM_UP: Duration = Duration::from_secs(2);

/// Bytes read and written each second by `y += x` (12 bytes an element): the median of 15 passes after warm-up.
pub fn copy_rate(gpu: Gpu) -> Result<f64> {
    let limit = usize::try_from(gpu.caps().binding_bytes / 4).unwrap_or(MOST);
    let numel = MOST.min(limit);
    let mut runtime = GpuRuntime::new(gpu);
    let mut g = Graph::new();
    let x = g.input("x", &[numel], Dtype::F32);
    let y = g.input("y", &[numel], Dtype::F32);
    g.call_into(
        Add { numel },
        &[x],
        &[Output {
            tensor: y,
            accumulate: true,
        }],
    )?;
    let program = runtime.load(&g)?;
    let step = StepParams::eval(1);
    let start = Instant::now();
    while start.elapsed() < WARM_UP {
        for _ in 0..20 {
            runtime.run(program, &step)?;
        }
        runtime.wait()?;
    }
    let mut times = (0..15)
        .map(|_| Ok(runtime.profile(program, &step)?[0]))
        .collect::<Result<Vec<_>>>()?;
    times.sort();
    Ok(12.0 * numel as f64 / times[times.len() / 2].as_secs_f64())
}

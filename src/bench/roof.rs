//! What the device at hand can do at best: the roof that kernels are compared with.

use super::runner::{Prepared, Timing};
use crate::cases::bench::{Bench, Family, Scale, Timed};
use crate::error::{Result, UserError};
use crate::ops::add::Add;
use crate::ops::linear::Linear;
use crate::tensor::Precision;
use crate::train::Executor;
use rayon::prelude::*;
use std::time::{Duration, Instant};

/// Elements of the tensors of the copy: 128 MiB at most, more than any cache.
const COPIED: usize = 32 << 20;
/// Bytes moved for each of them by `y += x`.
const BYTES: f64 = 12.0;
/// An idle card starts at low clocks.
const CLOCKS: Duration = Duration::from_secs(2);

/// Kind of device, as far as the size of the work depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceClass {
    /// A real GPU.
    Gpu,
    /// A GPU driver that computes on the CPU.
    SoftwareGpu,
    /// The CPU executor.
    Cpu,
}

impl DeviceClass {
    /// The class of an executor's device.
    pub fn of(executor: &Executor) -> Self {
        match executor {
            Executor::Cpu(_) => Self::Cpu,
            #[cfg(feature = "gpu")]
            Executor::Gpu(runtime) => match runtime.gpu().info().device_type {
                wgpu::DeviceType::Cpu => Self::SoftwareGpu,
                _ => Self::Gpu,
            },
        }
    }

    /// By how much the shapes are made smaller, so that no bench takes a minute.
    pub fn scale(self) -> Scale {
        Scale(match self {
            Self::Gpu => 1,
            Self::SoftwareGpu => 256,
            Self::Cpu => 16,
        })
    }

    /// Extent of the square product.
    fn product(self) -> usize {
        match self {
            Self::Gpu => 4096,
            Self::SoftwareGpu => 256,
            Self::Cpu => 1024,
        }
    }

    /// How long it computes before its clocks are up, having waited as long or longer.
    pub fn warm_up(self) -> Duration {
        match self {
            Self::Gpu => CLOCKS,
            Self::SoftwareGpu | Self::Cpu => Duration::ZERO,
        }
    }
}

/// The measured rates of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Roof {
    /// Bytes read and written each second by `y += x`.
    pub copy: f64,
    /// FLOPs each second of a square product by this program's own kernel, in the precision of the benches.
    pub product: f64,
    /// Extent of that product.
    pub size: usize,
    /// The kernel that computed it.
    pub kernel: String,
}

impl Roof {
    /// Measures both. The first measurement on a GPU also raises its clocks.
    ///
    /// # Errors
    /// The device's.
    pub fn measure(executor: &mut Executor, precision: Precision) -> Result<Self> {
        let class = DeviceClass::of(executor);
        let copy = copy_rate(executor)?;
        let size = class.product();
        let op = Linear {
            rows: size,
            inp: size,
            out: size,
            bias: false,
        };
        let product = rate_bench(op.into());
        let prepared = prepare(&product, precision, executor)?;
        let timing = prepared.time(executor.runtime())?;
        let kernel = kernel(executor, &prepared);
        executor.runtime().reset();
        let product = prepared.cost.flops / timing.median.as_secs_f64();
        Ok(Self {
            copy,
            product,
            size,
            kernel,
        })
    }
}

/// Bytes read and written each second by `y += x`, the median after a warm-up.
///
/// # Errors
/// The device's.
pub fn copy_rate(executor: &mut Executor) -> Result<f64> {
    let class = DeviceClass::of(executor);
    if class == DeviceClass::Cpu {
        return Ok(cpu_copy_rate());
    }
    let numel = copied(executor);
    let add = rate_bench(Add { numel }.into());
    let prepared = prepare(&add, Precision::F32, executor)?;
    let runtime = executor.runtime();
    prepared.warm_up(runtime, class.warm_up())?;
    let timing = prepared.time(runtime)?;
    runtime.reset();
    Ok(BYTES * numel as f64 / timing.median.as_secs_f64())
}

/// Elements that a copy on this device may have.
fn copied(executor: &Executor) -> usize {
    match executor {
        Executor::Cpu(_) => COPIED,
        #[cfg(feature = "gpu")]
        Executor::Gpu(runtime) => {
            let most = usize::try_from(runtime.gpu().caps().binding_bytes / 4).unwrap_or(COPIED);
            COPIED.min(most)
        }
    }
}

/// On all threads: the op `add` uses one, its tensors being small.
fn cpu_copy_rate() -> f64 {
    let x = vec![1.0f32; COPIED];
    let mut y = vec![0.0f32; COPIED];
    let part = COPIED.div_ceil(4 * rayon::current_num_threads());
    let mut once = || {
        let start = Instant::now();
        y.par_chunks_mut(part).zip(x.par_chunks(part)).for_each(|(y, x)| {
            for (y, x) in y.iter_mut().zip(x) {
                *y += *x;
            }
        });
        start.elapsed()
    };
    once();
    let timing = Timing::of((0..5).map(|_| once()).collect());
    // Nobody reads y: without this the loop could be left out.
    std::hint::black_box(&y);
    BYTES * COPIED as f64 / timing.median.as_secs_f64()
}

fn rate_bench(op: crate::ops::Op) -> Bench {
    Bench::new(Family::Dense, "roof".to_owned(), op).source("the roof")
}

fn prepare(bench: &Bench, precision: Precision, executor: &mut Executor) -> Result<Prepared> {
    let prepared = Prepared::new(bench, Timed::Forward, precision, executor)?;
    prepared.map_err(|reason| {
        UserError::Shape {
            op: bench.kind,
            reason,
        }
        .into()
    })
}

#[cfg_attr(
    not(feature = "gpu"),
    allow(unused_variables, reason = "only a GPU has kernels by name")
)]
fn kernel(executor: &Executor, prepared: &Prepared) -> String {
    match executor {
        Executor::Cpu(_) => "linear (CPU)".to_owned(),
        #[cfg(feature = "gpu")]
        Executor::Gpu(runtime) => {
            let keys = runtime.kernels(prepared.program());
            let paths = keys.iter().filter_map(|key| key.split(' ').next());
            let mut paths: Vec<&str> = paths.collect();
            paths.dedup();
            paths.join(" + ")
        }
    }
}

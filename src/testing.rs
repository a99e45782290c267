//! What the ops' tests share: each claim once, over all cases of an op.

use crate::check::{Case, Deviation, Named, compare};
use crate::cpu::CpuRuntime;
use crate::runtime::Runtime;

/// Central differences in f64 with h = 1e-5: truncation h^2 and rounding 1e-16 / h both leave about 1e-10, times the
/// curvature of the op; sharply curved ops (strong decay, rows near zero) lose up to 1e-6.
const FINITE_DIFFERENCE: f64 = 2e-6;

/// The f64 twin's gradients agree with finite differences.
pub(crate) fn grad_matches_finite_difference(cases: &[Case]) {
    for case in cases {
        let errors = case.finite_differences(&mut CpuRuntime::<f64>::new()).unwrap();
        assert!(!errors.is_empty(), "{}: nothing has a gradient", case.name);
        for (tensor, error) in errors {
            assert!(
                error < FINITE_DIFFERENCE,
                "{} {}: {tensor} off by {error:e}",
                case.op.name(),
                case.name
            );
        }
    }
}

/// The f32 twin agrees with the f64 twin.
pub(crate) fn f32_twin_matches_f64(cases: &[Case]) {
    for case in cases {
        let oracle = case.run(&mut CpuRuntime::<f64>::new()).unwrap();
        report(
            case,
            "CPU f32",
            &compare(case, &case.run(&mut CpuRuntime::<f32>::new()).unwrap(), &oracle),
        );
    }
}

/// Gradients add up where an input has two readers, whichever way the op does it.
pub(crate) fn gradients_accumulate(cases: &[Case]) {
    for case in cases {
        let oracle = case.run_calls(&mut CpuRuntime::<f64>::new(), 2).unwrap();
        check_calls(case, "CPU f32", &mut CpuRuntime::<f32>::new(), &oracle);
        #[cfg(feature = "gpu")]
        gpu::each_device(|device, runtime| check_calls(case, device, runtime, &oracle));
    }
}

fn check_calls(case: &Case, device: &str, runtime: &mut dyn Runtime, oracle: &Named) {
    report(
        case,
        device,
        &compare(case, &case.run_calls(runtime, 2).unwrap(), oracle),
    );
}

fn report(case: &Case, device: &str, deviations: &[Deviation]) {
    for d in deviations {
        assert!(
            d.passed(),
            "{} {} on {device}: {} error {:e}, allowed {:e}; element {} is {:e}, should be {:e}",
            case.op.name(),
            case.name,
            d.tensor,
            d.error,
            d.allowed,
            d.worst.0,
            d.worst.1,
            d.worst.2
        );
    }
}

#[cfg(feature = "gpu")]
pub(crate) mod gpu {
    use super::{Case, compare, report};
    use crate::cpu::CpuRuntime;
    use crate::gpu::lower::Lower;
    use crate::gpu::shader::reflect;
    use crate::gpu::{Gpu, GpuRuntime, Options, adapter};
    use crate::graph::Graph;
    use crate::runtime::Runtime;
    use crate::tensor::Dtype;

    /// Runs a test on each adapter of the machine; says so where there is none.
    pub(crate) fn each_device(test: impl Fn(&str, &mut dyn Runtime)) {
        let adapters = adapter::adapters();
        if adapters.is_empty() {
            eprintln!("skipped: no GPU adapter");
        }
        for a in &adapters {
            let gpu = Gpu::open(a, Options::default()).unwrap();
            let name = gpu.description().to_owned();
            test(&name, &mut GpuRuntime::new(gpu));
        }
    }

    /// Every kernel of the cases, forward and backward, fits in WebGPU's default limits where nothing more is there.
    pub(crate) fn fits_webgpu_default_limits(cases: &[Case]) {
        let caps = crate::gpu::Caps::webgpu_default();
        for case in cases {
            let mut graph = Graph::new();
            let ins: Vec<_> = case
                .op
                .inputs()
                .iter()
                .map(|p| graph.input(p.name, &p.shape, p.dtype))
                .collect();
            let outs = graph.call(case.op.clone(), &ins).unwrap();
            let seed = graph.input("seed", &case.op.outputs()[0].shape, Dtype::F32);
            graph.backward(&[(outs[0], seed)], &ins).unwrap();
            let lowered = Lower::graph(&graph, &caps);
            assert!(!lowered.dispatches.is_empty(), "{}: no kernels", case.name);
            for dispatch in &lowered.dispatches {
                let (kernel, grid) = (&dispatch.kernel, dispatch.grid);
                let (_, found) = reflect(kernel, &kernel.expand().unwrap()).unwrap();
                let threads = found.workgroup_size.iter().product::<u32>();
                let fits = found.workgroup_bytes <= caps.workgroup_bytes
                    && threads <= caps.workgroup_threads
                    && dispatch.bindings.len() <= caps.storage_bindings as usize
                    && grid.iter().all(|n| *n <= 65_535);
                assert!(fits, "{} {}: {found:?} {grid:?}", case.name, kernel.key());
            }
        }
    }

    /// Kernels agree with the f64 twin: unchecked twice and checked once, from poisoned memory, all three bit for bit
    /// the same.
    pub(crate) fn matches_oracle(cases: &[Case]) {
        for a in &adapter::adapters() {
            let open = |checked| {
                GpuRuntime::new(
                    Gpu::open(
                        a,
                        Options {
                            checked,
                            ..Options::default()
                        },
                    )
                    .unwrap(),
                )
            };
            let (mut fast, mut checked) = (open(false), open(true));
            for case in cases {
                let oracle = case.run(&mut CpuRuntime::<f64>::new()).unwrap();
                report(
                    case,
                    &fast.device(),
                    &compare(case, &case.run(&mut fast).unwrap(), &oracle),
                );
                let bits = |runtime: &mut GpuRuntime| -> Vec<Vec<u64>> {
                    let out = case.run(runtime).unwrap();
                    out.into_iter()
                        .map(|(_, v)| v.into_iter().map(f64::to_bits).collect())
                        .collect()
                };
                let first = bits(&mut fast);
                assert!(
                    first == bits(&mut fast),
                    "{} {}: other bits the second time",
                    case.op.name(),
                    case.name
                );
                let third = bits(&mut checked);
                assert!(
                    first == third,
                    "{} {}: other bits in checked mode",
                    case.op.name(),
                    case.name
                );
            }
        }
    }
}

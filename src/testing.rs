//! What the ops' tests share: each claim once, over all cases of an op.

use crate::cases::{Case, Deviation, FLOOR, Fill, Named, TOLERANCE_F32, Values, compare};
use crate::cpu::CpuRuntime;
use crate::graph::Graph;
use crate::ops::Op;
use crate::port::{Port, Storage};
use crate::runtime::{Data, Runtime};
use crate::step::StepParams;
use crate::tensor::{Precision, TensorId};
use crate::twin::{In, Out, Slices};

/// Appends the calls of a token to a graph, given its inputs.
type Token<'a> = &'a dyn Fn(&mut Graph, &[TensorId]) -> TensorId;

/// Central differences in f64 with h = 1e-5: truncation h^2 and rounding 1e-16 / h both leave about 1e-10, times the
/// curvature of the op; sharply curved ops (strong decay, rows near zero) lose up to 1e-6.
const FINITE_DIFFERENCE: f64 = 2e-6;

/// A recurrence token by token against its chunkwise form, both in f64: sums over some hundred terms in another order,
/// through states whose size the decays and the write strengths bound.
const STEPWISE_F64: f64 = 1e-10;

/// The tests that ops have in common, a line a test: its name, which is that of a function of this file (of `gpu`, where there
/// is a GPU's feature), and the cases that it takes.
macro_rules! op_tests {
    () => {};
    (gpu $test:ident: $cases:expr, $($rest:tt)*) => {
        #[cfg(feature = "gpu")]
        #[test]
        fn $test() {
            $crate::testing::gpu::$test(&$cases);
        }
        op_tests! { $($rest)* }
    };
    ($test:ident: $cases:expr, $($rest:tt)*) => {
        #[test]
        fn $test() {
            $crate::testing::$test(&$cases);
        }
        op_tests! { $($rest)* }
    };
}

pub(crate) use op_tests;

/// Says which test does not run here, and why.
#[cfg(feature = "gpu")]
#[allow(clippy::disallowed_macros, reason = "a test says what it left out")]
pub(crate) fn skipped(test: &str, why: &str) {
    eprintln!("skipped {test}: {why}");
}

/// The f64 twin's gradients agree with finite differences. Long cases are left out: each input takes six runs, and the
/// formulas are those of a few chunks.
pub(crate) fn grad_matches_finite_difference(cases: &[Case]) {
    for case in cases.iter().filter(|case| !case.long) {
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

/// Inputs of a case in f64, integers too.
pub(crate) fn reals(case: &Case) -> Vec<Vec<f64>> {
    let widen = |x: &Values| match x {
        Values::Real(x) => x.iter().map(|x| f64::from(*x)).collect(),
        Values::Int(x) => x.iter().map(|x| f64::from(*x)).collect(),
    };
    case.inputs.iter().map(widen).collect()
}

/// A gradient for the first output of an op.
pub(crate) fn output_gradient(op: &Op) -> Vec<f64> {
    let numel = op.outputs()[0].shape.iter().product();
    Fill::new(77).normal(numel).into_iter().map(f64::from).collect()
}

/// At every chunk length the f64 twin gives what an oracle gives for [`reals`] and [`output_gradient`]: the first output,
/// then the gradients of the inputs. Long cases take long: they run with their own chunk alone.
pub(crate) fn every_chunk_gives(
    case: &Case,
    own: usize,
    with_chunk: &dyn Fn(usize) -> Op,
    want: &[&Vec<f64>],
    allowed: f64,
) {
    let is_run = |chunk: &usize| !case.long || *chunk == own;
    for chunk in [16, 32, 64].into_iter().filter(is_run) {
        let got = twin(&with_chunk(chunk), &reals(case));
        for ((name, got), want) in got.iter().zip(want) {
            let d = Deviation::new(name, got, want, FLOOR * (want.len() as f64).sqrt(), allowed);
            assert!(d.passed(), "{} C{chunk}: {d:?}", case.name);
        }
    }
}

/// First output and gradients of the inputs from the f64 twin.
fn twin(op: &Op, inputs: &[Vec<f64>]) -> Vec<(&'static str, Vec<f64>)> {
    type Tensors = Vec<(&'static str, Vec<f64>)>;
    let unwritten = |ports: Vec<Port>| -> Tensors {
        let tensor = |p: Port| (p.name, vec![f64::NAN; p.numel()]);
        ports.into_iter().map(tensor).collect()
    };
    fn ins(all: &Tensors) -> Vec<(&'static str, In<'_, f64>)> {
        all.iter().map(|(name, x)| (*name, In::Real(x))).collect()
    }
    fn outs(all: &mut Tensors) -> Vec<(&'static str, Out<'_, f64>)> {
        all.iter_mut().map(|(name, x)| (*name, Out::new(x))).collect()
    }
    let step = StepParams::eval(1);
    let names = op.inputs().into_iter().map(|p| p.name);
    let given: Tensors = names.zip(inputs.iter().cloned()).collect();
    let (mut made, mut gradients) = (unwritten(op.outputs()), unwritten(op.inputs()));
    let forward = Slices {
        reads: ins(&given),
        writes: outs(&mut made),
        ..Slices::default()
    };
    op.cpu_fwd(&step, forward);
    let grad_o: Tensors = vec![(made[0].0, output_gradient(op))];
    let backward = Slices {
        reads: ins(&given).into_iter().chain(ins(&made)).collect(),
        grads: ins(&grad_o),
        wanted: outs(&mut gradients),
        ..Slices::default()
    };
    op.cpu_bwd(&step, backward);
    let (_, o) = made.swap_remove(0);
    [("o", o)].into_iter().chain(gradients).collect()
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

/// A step op, run once a token on the tokens of a case of the op over whole sequences, gives that op's first output: in
/// f64, in f32 and on each GPU. Inputs are matched by name; an input of integers is the token's position.
pub(crate) fn steps_match_sequence(case: &Case, step: impl Into<Op>) {
    let step = step.into();
    calls_match_sequence(case, &step.inputs(), &|graph, ins| {
        graph.call(step.clone(), ins).unwrap()[0]
    });
}

/// As [`steps_match_sequence`], for a token that is several calls: `token` appends them and returns what to compare.
pub(crate) fn calls_match_sequence(case: &Case, ports: &[Port], token: Token<'_>) {
    // A run a token: thousands say nothing that hundreds do not.
    if case.long {
        return;
    }
    let (_, want) = case.run(&mut CpuRuntime::<f64>::new()).unwrap().swap_remove(0);
    let name = format!("{} {} token by token", case.op.name(), case.name);
    calls_give(&name, ports, token, &named_inputs(case), &want);
}

fn named_inputs(case: &Case) -> Vec<(&'static str, &[f32])> {
    let named = case.op.inputs().into_iter().zip(&case.inputs);
    named
        .filter_map(|(port, values)| match values {
            Values::Real(x) => Some((port.name, x.as_slice())),
            Values::Int(_) => None,
        })
        .collect()
}

/// The first output of a step op, run once a token as in [`steps_match_sequence`].
pub(crate) fn token_by_token(case: &Case, step: impl Into<Op>, runtime: &mut dyn Runtime) -> Vec<f64> {
    let step = step.into();
    let len = case.op.outputs()[0].shape.iter().product();
    let append = |graph: &mut Graph, ins: &[TensorId]| graph.call(step.clone(), ins).unwrap()[0];
    stepwise(&step.inputs(), &append, &named_inputs(case), len, runtime)
}

/// As [`steps_match_sequence`], with the inputs of whole sequences by name, and what to expect.
pub(crate) fn steps_give(name: &str, step: &Op, inputs: &[(&str, &[f32])], want: &[f64]) {
    let token = |graph: &mut Graph, ins: &[TensorId]| graph.call(step.clone(), ins).unwrap()[0];
    calls_give(
        &format!("{} {name}", step.name()),
        &step.inputs(),
        &token,
        inputs,
        want,
    );
}

fn calls_give(name: &str, ports: &[Port], token: Token<'_>, inputs: &[(&str, &[f32])], want: &[f64]) {
    let check = |device: &str, runtime: &mut dyn Runtime, allowed: f64| {
        let got = stepwise(ports, token, inputs, want.len(), runtime);
        let d = Deviation::new("o", &got, want, FLOOR * (want.len() as f64).sqrt(), allowed);
        assert!(d.passed(), "{name} on {device}: {d:?}");
    };
    check("CPU f64", &mut CpuRuntime::<f64>::new(), STEPWISE_F64);
    check("CPU f32", &mut CpuRuntime::<f32>::new(), TOLERANCE_F32);
    #[cfg(feature = "gpu")]
    gpu::each_device(|device, runtime| check(device, runtime, TOLERANCE_F32));
}

/// What `append` returns, one run a token, as the `len` elements of a sequence.
fn stepwise(
    ports: &[Port],
    append: Token<'_>,
    inputs: &[(&str, &[f32])],
    len: usize,
    runtime: &mut dyn Runtime,
) -> Vec<f64> {
    let mut graph = Graph::new();
    let ids: Vec<_> = ports
        .iter()
        .map(|p| graph.input(p.name, &p.shape, p.storage.dtype(Precision::F32)))
        .collect();
    let y = append(&mut graph, &ids);
    graph.keep(y);
    let program = runtime.load(&graph).unwrap();
    let (b, row) = (ports[0].shape[0], graph.tensor(y).numel());
    let (t, width) = (len / row, row / b);
    let mut all = vec![f64::NAN; len];
    for token in 0..t {
        for (port, id) in ports.iter().zip(&ids) {
            if port.storage == Storage::Index {
                runtime.write(program, *id, Data::U32(&[token as u32])).unwrap();
                continue;
            }
            let named = inputs.iter().find(|(name, _)| *name == port.name);
            let (_, x) = named.expect("the ops name their inputs alike");
            let numel = port.shape.iter().product::<usize>();
            // Parameters are the same for all tokens.
            let n = if x.len() == numel { numel } else { numel / b };
            let rows = x.chunks(n).skip(token % (x.len() / n)).step_by(t);
            let x: Vec<f32> = rows.flatten().copied().collect();
            runtime.write(program, *id, Data::F32(&x)).unwrap();
        }
        runtime.run(program, &StepParams::eval(1)).unwrap();
        let y = runtime.read(program, y).unwrap();
        for (all, y) in all.chunks_mut(width).skip(token).step_by(t).zip(y.chunks(width)) {
            all.copy_from_slice(y);
        }
    }
    all
}

#[cfg(feature = "gpu")]
pub(crate) mod gpu {
    use super::{Case, Named, compare, report, skipped};
    use crate::cpu::CpuRuntime;
    use crate::gpu::lower::lower;
    use crate::gpu::{Gpu, GpuRuntime, Options, adapter};
    use crate::graph::Graph;
    use crate::launch::Caps;
    use crate::runtime::Runtime;
    use crate::shader::reflection;
    use crate::tensor::Precision;
    use crate::variant::Choice;
    use std::collections::{HashMap, HashSet};

    /// Runs a test on each adapter of the machine; says so where there is none.
    pub(crate) fn each_device(test: impl Fn(&str, &mut dyn Runtime)) {
        let adapters = adapter::adapters();
        if adapters.is_empty() {
            let thread = std::thread::current();
            skipped(thread.name().unwrap_or("a test"), "no GPU adapter");
        }
        for a in &adapters {
            let gpu = Gpu::open(a, Options::default()).unwrap();
            let name = gpu.description().to_owned();
            test(&name, &mut GpuRuntime::new(gpu));
        }
    }

    /// Every kernel of the cases, forward and backward, fits in WebGPU's default limits where nothing more is there.
    pub(crate) fn kernels_fit_webgpu_default_limits(cases: &[Case]) {
        let caps = Caps::webgpu_default();
        let mut seen = HashMap::new();
        for case in cases {
            let graph = case.graph(Precision::F32).unwrap();
            let lowered = lower(&graph, &caps, &Choice::default());
            assert!(!lowered.dispatches.is_empty(), "{}: no kernels", case.name);
            for dispatch in &lowered.dispatches {
                let (kernel, grid) = (&dispatch.kernel, dispatch.grid);
                // A launch a step has the same kernel thousands of times.
                let found = seen
                    .entry(kernel.key())
                    .or_insert_with(|| reflection(kernel).unwrap());
                let threads = found.workgroup_size.iter().product::<u32>();
                let fits = found.workgroup_bytes <= caps.workgroup_bytes
                    && threads <= caps.workgroup_threads
                    && dispatch.bindings.len() <= caps.storage_bindings as usize
                    && grid.iter().all(|n| *n <= 65_535);
                assert!(fits, "{} {}: {found:?} {grid:?}", case.name, kernel.key());
            }
        }
    }

    /// Kernels agree with the f64 twin: in mixed precision; in f32 unchecked twice and checked once, from poisoned memory, all three bit for bit
    /// the same. Drivers that compute on the CPU take long to compile: none run there that are long or alike, few in mixed precision, and
    /// checked those alone that bring a new branch (see [`Texts`]). What is alike brings none.
    pub(crate) fn kernels_match_oracle(cases: &[Case]) {
        for a in &adapter::adapters() {
            let open = |checked| GpuRuntime::new(Gpu::open(a, Options { checked }).unwrap());
            let (mut fast, mut checked) = (open(false), open(true));
            let all = adapter::is_hardware(a);
            if fast.gpu().caps().f16 {
                let some = if all { cases.len() } else { 3 };
                for case in cases.iter().filter(|case| !case.long).take(some) {
                    let case = case.clone().in_mixed();
                    let oracle = case.run(&mut CpuRuntime::<f64>::new()).unwrap();
                    if !case.fits_half(&oracle) {
                        continue;
                    }
                    let got = case.run_in(Precision::Mixed, &mut fast).unwrap();
                    let device = format!("{} in mixed precision", fast.device());
                    report(&case, &device, &compare(&case, &got, &oracle));
                }
            }
            let mut seen = Texts::default();
            for case in cases.iter().filter(|case| all || !case.long && !case.alike) {
                let oracle = case.run(&mut CpuRuntime::<f64>::new()).unwrap();
                let first = case.run(&mut fast).unwrap();
                report(case, &fast.device(), &compare(case, &first, &oracle));
                let name = format!("{} {}", case.op.name(), case.name);
                let again = case.run(&mut fast).unwrap();
                assert!(bits(&first) == bits(&again), "{name}: other bits the second time");
                let graph = case.graph(Precision::F32).unwrap();
                if seen.add(&graph, fast.gpu().caps()) || all {
                    let checked = case.run(&mut checked).unwrap();
                    assert!(
                        bits(&first) == bits(&checked),
                        "{name}: other bits in checked mode"
                    );
                }
            }
            for case in cases.iter().filter(|case| case.alike) {
                let new = seen.add(&case.graph(Precision::F32).unwrap(), fast.gpu().caps());
                let name = format!("{} {}", case.op.name(), case.name);
                assert!(!new, "{name}: no case that runs everywhere has its branches");
            }
        }
    }

    fn bits(values: &Named) -> Vec<Vec<u64>> {
        let of = |(_, values): &(String, Vec<f64>)| values.iter().map(|x| x.to_bits()).collect();
        values.iter().map(of).collect()
    }

    /// The lines of kernels that were met, numbers left out: sizes and unrolled copies look the same, branches and operands do not.
    #[derive(Default)]
    pub(crate) struct Texts {
        kernels: HashSet<String>,
        lines: HashSet<(&'static str, String)>,
    }

    impl Texts {
        /// Adds the kernels of a graph; whether one has a line that its file has not had before.
        pub(crate) fn add(&mut self, graph: &Graph, caps: &Caps) -> bool {
            let before = self.lines.len();
            for dispatch in lower(graph, caps, &Choice::default()).dispatches {
                let kernel = dispatch.kernel;
                if self.kernels.insert(kernel.key()) {
                    let text = kernel.expand().unwrap();
                    let lines = text
                        .lines()
                        .map(|line| line.replace(|c: char| c.is_ascii_digit(), ""));
                    self.lines.extend(lines.map(|line| (kernel.path, line)));
                }
            }
            self.lines.len() > before
        }
    }
}

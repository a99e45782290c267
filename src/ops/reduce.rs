//! Sums over rows (gradients of weights and biases) in two stages with one order, on any device and any number of
//! threads: partial sums first, then the sum of those.

#[cfg(feature = "gpu")]
use crate::launch::{GpuOut, Lower, View, grid_1d};
#[cfg(feature = "gpu")]
use crate::shader::Kernel;
use crate::twin::Real;
#[cfg(feature = "gpu")]
use bytemuck::{Pod, Zeroable};

/// Most partial sums that a kernel leaves: enough workgroups to fill a large GPU, few enough that they cost little.
#[cfg(feature = "gpu")]
pub(crate) const MAX_PARTS: usize = 1024;

/// Most pieces that a twin splits its rows into.
const MAX_PIECES: usize = 64;

/// Rows in pieces that threads share out: their number does not depend on the number of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pieces {
    /// Rows of a piece; the last may have fewer.
    pub rows: usize,
    /// Pieces.
    pub count: usize,
}

impl Pieces {
    /// Splits `rows` (at least one).
    pub(crate) fn new(rows: usize) -> Self {
        let per = rows.div_ceil(MAX_PIECES);
        Self {
            rows: per,
            count: rows.div_ceil(per),
        }
    }

    /// Zeros for `n` sums of each piece.
    pub(crate) fn partials<R: Real>(&self, n: usize) -> Vec<R> {
        vec![R::ZERO; self.count * n]
    }
}

/// Adds the pieces' partial sums `[count, n]` to `sum` `[n]`, in order.
pub(crate) fn add_partials<R: Real>(sum: &mut [R], partials: &[R]) {
    for part in partials.chunks(sum.len()) {
        for (sum, p) in sum.iter_mut().zip(part) {
            *sum += *p;
        }
    }
}

/// A twin's output, or `len` elements that nobody reads.
pub(crate) fn wanted_or<'a, R: Real>(
    out: Option<(&'a mut [R], bool)>,
    unread: &'a mut Vec<R>,
    len: usize,
) -> &'a mut [R] {
    match out {
        Some((data, _)) => data,
        None => {
            unread.resize(len, R::ZERO);
            unread
        }
    }
}

/// The kernel of [`column_sum`].
#[cfg(feature = "gpu")]
pub(crate) const COLUMN_SUM: &str = "reduce/column_sum";

/// Sums that a launch has room for: `JOBS` of the kernel.
#[cfg(feature = "gpu")]
pub(crate) const JOBS: usize = 64;

/// One sum of a launch: mirrors `Job` of the kernel. Columns and places count quads where `wide` is set.
#[cfg(feature = "gpu")]
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct Job {
    /// Its first workgroup.
    first: u32,
    /// Columns of a workgroup, as a power of two.
    shift: u32,
    parts: u32,
    n: u32,
    accumulate: u32,
    /// First element in each binding.
    partial: u32,
    sum: u32,
    wide: u32,
}

#[cfg(feature = "gpu")]
impl Job {
    /// The only sum of a launch's parameters.
    pub(crate) fn only(params: &[u8]) -> Self {
        bytemuck::pod_read_unaligned(&params[..size_of::<Self>()])
    }

    /// A sum of so many rows of `n` elements.
    fn new(parts: usize, n: usize, accumulate: bool) -> Self {
        // As many columns, or quads of them, a workgroup as leave no thread without a part and the device no place without a
        // workgroup, but 32 bytes of them: less is read at once only in part.
        let wide = n.is_multiple_of(4);
        let (n, least) = if wide { (n / 4, 2) } else { (n, 8) };
        let busy = 256 / parts.next_power_of_two().min(256);
        let columns = (n / SECOND_STAGE).max(1).next_power_of_two();
        let columns = columns.clamp(least, 256).max(busy).min(n.next_power_of_two());
        Self {
            shift: columns.ilog2(),
            parts: parts as u32,
            n: n as u32,
            accumulate: u32::from(accumulate),
            wide: u32::from(wide),
            ..Self::zeroed()
        }
    }

    /// The same sum of what begins at element `partial`, to what begins at `sum`.
    pub(crate) fn at(self, partial: usize, sum: usize) -> Self {
        Self {
            partial: partial as u32 / self.width(),
            sum: sum as u32 / self.width(),
            ..self
        }
    }

    /// Elements of a column.
    fn width(&self) -> u32 {
        if self.wide == 1 { 4 } else { 1 }
    }

    /// The same sum, element by element.
    fn narrow(self) -> Self {
        let width = self.width();
        Self {
            // A workgroup has a column a thread at most.
            shift: (self.shift + width.ilog2()).min(8),
            n: self.n * width,
            partial: self.partial * width,
            sum: self.sum * width,
            wide: 0,
            ..self
        }
    }

    fn groups(&self) -> u32 {
        self.n.div_ceil(1 << self.shift)
    }

    /// Its first workgroup.
    #[cfg(test)]
    pub(crate) fn first(&self) -> u32 {
        self.first
    }

    /// What it adds up, in a binding that begins at `start`.
    #[cfg(test)]
    pub(crate) fn partials(&self, start: usize) -> std::ops::Range<usize> {
        let own = self.narrow();
        let start = start + own.partial as usize;
        start..start + (own.parts * own.n) as usize
    }

    /// What it writes, in a binding that begins at `start`.
    #[cfg(test)]
    pub(crate) fn out(&self, start: usize) -> std::ops::Range<usize> {
        let own = self.narrow();
        let start = start + own.sum as usize;
        start..start + own.n as usize
    }
}

/// Parameters of a launch that does these sums, [`JOBS`] at most, and its workgroups.
#[cfg(feature = "gpu")]
pub(crate) fn jobs(jobs: &[Job]) -> ([Job; JOBS], [u32; 3]) {
    let none = Job {
        first: u32::MAX,
        ..Job::zeroed()
    };
    let mut all = [none; JOBS];
    let mut groups = 0;
    for (place, job) in all.iter_mut().zip(jobs) {
        *place = Job {
            first: groups,
            ..*job
        };
        groups += job.groups();
    }
    (all, grid_1d(groups as usize))
}

/// Sums for one launch, all by quads (then true) or all element by element.
#[cfg(feature = "gpu")]
pub(crate) fn alike(jobs: Vec<Job>) -> (bool, Vec<Job>) {
    if jobs.iter().all(|job| job.wide == 1) {
        return (true, jobs);
    }
    (false, jobs.into_iter().map(Job::narrow).collect())
}

/// Workgroups that a second stage shall have at least, if its columns are enough: two a multiprocessor of a large GPU.
#[cfg(feature = "gpu")]
const SECOND_STAGE: usize = 256;

/// Second stage: sums `partial` `[parts, n]` over its rows into `out` `[n]`, or adds to it.
#[cfg(feature = "gpu")]
pub(crate) fn column_sum(l: &mut Lower<'_>, partial: View, parts: usize, n: usize, out: GpuOut) {
    let job = Job::new(parts, n, out.accumulate);
    let (params, grid) = jobs(&[job]);
    let bindings = [("partials", partial), ("sum", out.view)];
    let kernel = Kernel::new(COLUMN_SUM)
        .set("SHIFT", job.shift as usize)
        .set("WIDE", job.wide == 1);
    l.run(kernel, &bindings, params, grid);
}

/// Several such sums in one launch, each `([first of partial, first of out], n)`.
#[cfg(feature = "gpu")]
pub(crate) fn column_sums_beside(
    l: &mut Lower<'_>,
    partial: View,
    parts: usize,
    sums: &[([usize; 2], usize)],
    out: GpuOut,
) {
    if let [([0, first], n)] = *sums {
        let view = out.view.part(first, n);
        return column_sum(l, partial, parts, n, GpuOut { view, ..out });
    }
    let job =
        |&([partial, sum], n): &([usize; 2], usize)| Job::new(parts, n, out.accumulate).at(partial, sum);
    let (wide, all) = alike(sums.iter().map(job).collect());
    let (params, grid) = jobs(&all);
    let kernel = Kernel::new(COLUMN_SUM).set("SEVERAL", true).set("WIDE", wide);
    l.run(kernel, &[("partials", partial), ("sum", out.view)], params, grid);
}

/// [`column_sum`] of each partial sum whose output is wanted.
#[cfg(feature = "gpu")]
pub(crate) fn column_sums(
    l: &mut Lower<'_>,
    partials: &[View],
    parts: usize,
    n: usize,
    outs: &[Option<GpuOut>],
) {
    for (partial, out) in partials.iter().zip(outs) {
        if let Some(out) = *out {
            column_sum(l, *partial, parts, n, out);
        }
    }
}

/// As [`or_scratch`], stored as the input whose gradient it is: where others come out of what is stored.
#[cfg(feature = "gpu")]
pub(crate) fn or_like(l: &mut Lower<'_>, out: Option<GpuOut>, input: View) -> View {
    match out {
        Some(out) => out.view,
        None => l.scratch_of(input.dtype, input.len),
    }
}

/// Where an output goes: memory of the call alone if nobody wants it.
#[cfg(feature = "gpu")]
pub(crate) fn or_scratch(l: &mut Lower<'_>, out: Option<GpuOut>, len: usize) -> View {
    match out {
        Some(out) => out.view,
        None => l.scratch(len),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::{Case, Values};
    use crate::cpu::CpuRuntime;
    use crate::graph::Graph;
    use crate::ops::{decay_gate, layer_norm, rms_norm, short_conv, ssm_gate, swiglu};
    use crate::runtime::{Data, Runtime};
    use crate::tensor::Precision;

    #[test]
    fn pieces_cover_all_rows() {
        for rows in 1..1000 {
            let p = Pieces::new(rows);
            assert!(p.count <= MAX_PIECES && p.rows * p.count >= rows && p.rows * (p.count - 1) < rows);
        }
    }

    /// Gradients of the given ports alone; those of the outputs are 1 everywhere.
    fn gradients(
        case: &Case,
        precision: Precision,
        runtime: &mut dyn Runtime,
        ports: &[usize],
    ) -> Vec<Vec<f64>> {
        let mut graph = Graph::with_precision(precision);
        let inputs: Vec<_> = case
            .op
            .inputs()
            .iter()
            .map(|p| graph.input(p.name, &p.shape, p.storage.dtype(precision)))
            .collect();
        let outs = graph.call(case.op.clone(), &inputs).unwrap();
        let seeds: Vec<_> = outs[..case.outputs]
            .iter()
            .map(|y| {
                let info = graph.tensor(*y);
                let (numel, dtype) = (info.numel(), info.dtype);
                (*y, graph.input("dy", &[numel], dtype))
            })
            .collect();
        let wrt: Vec<_> = ports.iter().map(|p| inputs[*p]).collect();
        let grads = graph.backward(&seeds, &wrt).unwrap();
        let program = runtime.load(&graph).unwrap();
        runtime.poison(program).unwrap();
        for (id, values) in inputs.iter().zip(&case.inputs) {
            let Values::Real(x) = values else {
                panic!("these ops read numbers")
            };
            runtime.write(program, *id, Data::F32(x)).unwrap();
        }
        for (_, seed) in &seeds {
            let ones = vec![1.0; graph.tensor(*seed).numel()];
            runtime.write(program, *seed, Data::F32(&ones)).unwrap();
        }
        runtime.run(program, &case.step).unwrap();
        grads
            .into_iter()
            .map(|g| runtime.read(program, g).unwrap())
            .collect()
    }

    /// A few of every op that sums over rows.
    fn cases() -> Vec<Case> {
        [
            rms_norm::cases::cases()[..8].to_vec(),
            layer_norm::cases::cases()[1..2].to_vec(),
            short_conv::cases::cases()[2..4].to_vec(),
            swiglu::cases::cases()[2..3].to_vec(),
            decay_gate::cases::cases()[1..3].to_vec(),
            ssm_gate::cases::cases()[2..4].to_vec(),
        ]
        .concat()
    }

    #[test]
    fn sums_do_not_depend_on_the_number_of_threads() {
        for case in cases() {
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .build()
                    .unwrap();
                pool.install(|| case.run(&mut CpuRuntime::<f32>::new()).unwrap())
            };
            assert!(run(1) == run(7), "{} {}", case.op.name(), case.name);
        }
    }

    /// Of `case`, each by itself and all together.
    fn unwanted_change_no_other(case: &Case, precision: Precision, device: &str, runtime: &mut dyn Runtime) {
        let ports = case.op.inputs();
        assert!(ports.iter().all(|p| p.grad.has_kernel()));
        let all: Vec<usize> = (0..ports.len()).collect();
        let want = gradients(case, precision, runtime, &all);
        for port in all {
            let got = gradients(case, precision, runtime, &[port]);
            let name = ports[port].name;
            assert!(
                got[0] == want[port],
                "{device}: {} {} {precision:?}: d {name}",
                case.op.name(),
                case.name
            );
        }
    }

    #[test]
    fn gradients_that_nobody_wants_change_no_other() {
        let check = |device: &str, runtime: &mut dyn Runtime| {
            for case in &cases() {
                unwanted_change_no_other(case, Precision::F32, device, runtime);
            }
        };
        check("CPU f32", &mut CpuRuntime::<f32>::new());
        #[cfg(feature = "gpu")]
        crate::testing::gpu::each_device(check);
    }

    /// In mixed precision too: what is summed up over rows has not been rounded to what is stored.
    #[cfg(feature = "gpu")]
    #[test]
    fn sums_over_rows_are_of_values_before_rounding() {
        use crate::gpu::{Gpu, GpuRuntime, Options, adapter};
        for a in &adapter::adapters() {
            let gpu = Gpu::open(a, Options::default()).unwrap();
            let device = gpu.description().to_owned();
            if !gpu.caps().f16 {
                crate::testing::skipped("sums_over_rows_are_of_values_before_rounding", "no f16");
                continue;
            }
            let mut runtime = GpuRuntime::new(gpu);
            for case in cases() {
                unwanted_change_no_other(&case.in_mixed(), Precision::Mixed, &device, &mut runtime);
            }
        }
    }
}

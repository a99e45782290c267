use super::{CHUNK, SelectiveScan};
use crate::launch::{Bound, GpuOp, Lower, View, Views, grid_1d};
use crate::ops::lanes::{Lanes, pitch};
use crate::ops::reduce::{column_sum, or_scratch};
use crate::shader::Kernel;
use bytemuck::{Pod, Zeroable};

/// Multiprocessors of a large card.
const PROCESSORS: usize = 132;
/// Most workgroups of a backward launch: enough that its tail does not matter, few enough that their partial sums of dB
/// and dC take little memory.
const LAUNCH: usize = 16 * PROCESSORS;
/// Steps of a walk in software: llvmpipe leaves a thread's loops after 65,535 turns, and `scan_bwd` takes up to 140 a step.
const SOFTWARE_WALK: usize = 8 * CHUNK;
/// Most words of a scratch tensor, where the adapter would allow more.
const MAX_SCRATCH: u64 = 128 << 20;
/// Elements that keep a part of a view aligned for binding.
const ALIGN: usize = 64;

/// Threads on channels and states in the kernels that go through time once (`scan_fwd`, `scan_end_*`): at most four quads
/// of states a thread.
fn lanes(states: usize) -> Lanes {
    Lanes::new(states, 4)
}

/// One of these kernels.
fn lanes_kernel(lanes: Lanes, path: &'static str) -> Kernel {
    // Bytes of workgroup memory for a step: at most 12 KiB in all, so that several workgroups share a processor.
    let step = 8 * lanes.padded() + 4 * lanes.channels() * (2 + pitch(lanes.lanes));
    let staged = if 8 * step <= 12 << 10 { 8 } else { 4 };
    lanes.kernel(path, staged)
}

/// Threads on channels and states in `scan_bwd`: two channels and four states a thread.
struct Pairs {
    threads: usize,
    lanes: usize,
}

impl Pairs {
    fn new(states: usize) -> Self {
        let lanes = states.div_ceil(4).next_power_of_two();
        // Within 16 KiB of workgroup memory: few lanes have many channels to stage, many lanes many states.
        let threads = if lanes > 32 { 128 } else { (64 * lanes).min(256) };
        Self { threads, lanes }
    }

    fn channels(&self) -> usize {
        2 * self.threads / self.lanes
    }
}

/// The bindings that a variant has.
fn present<const N: usize>(bindings: [(&'static str, Option<View>); N]) -> Vec<Bound> {
    let there = |(name, view): (&'static str, Option<View>)| Some((name, view?));
    bindings.into_iter().filter_map(there).collect()
}

/// Mirrors `Params` of `scan_rates`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RatesParams {
    channels: u32,
    states: u32,
}

/// Mirrors `Params` of `scan_fwd` and `scan_end_fwd` (`lib/scan`).
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct ForwardParams {
    t: u32,
    channels: u32,
    states: u32,
    chunks: u32,
    tiles: u32,
    segments: u32,
    segment: u32,
    groups: u32,
}

/// Mirrors `Params` of `scan_carry`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct CarryParams {
    n: u32,
    matrix: u32,
    states: u32,
    channels: u32,
    segments: u32,
    at: u32,
    row: u32,
    slot: u32,
}

/// Mirrors `Params` of `scan_inputs_bwd` and `scan_outputs_bwd`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct PointParams {
    n: u32,
    first: u32,
    channels: u32,
    bias_at: u32,
}

/// Mirrors `Params` of `scan_end_bwd`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct EndParams {
    t: u32,
    channels: u32,
    states: u32,
    tiles: u32,
    segments: u32,
    segment: u32,
    groups: u32,
    row0: u32,
    n: u32,
    slots_at: u32,
}

/// Mirrors `Params` of `scan_bwd`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct BackwardParams {
    t: u32,
    channels: u32,
    states: u32,
    chunks: u32,
    first_tile: u32,
    tiles: u32,
    segments: u32,
    segment: u32,
    groups: u32,
    sequence0: u32,
    n: u32,
    rows: u32,
    dc_at: u32,
    da_at: u32,
    dd_at: u32,
    grad_bias_at: u32,
}

/// Mirrors `Params` of `scan_sum_bwd`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct SumParams {
    n: u32,
    tiles: u32,
    first: u32,
    accumulate: u32,
}

/// A sequence cut into pieces that different workgroups walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segments {
    pub(super) count: usize,
    /// Steps of one, whole chunks.
    pub(super) tokens: usize,
}

/// Sequences and tiles of channels of one backward launch, and where its partial sums lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Launch {
    pub(super) sequences: usize,
    pub(super) tiles: usize,
    dc_at: usize,
    da_at: usize,
    dd_at: usize,
    grad_bias_at: usize,
    pub(super) words: usize,
}

impl SelectiveScan {
    fn matrix(&self) -> usize {
        self.channels * self.states
    }

    /// The rule that cuts sequences: not where the `groups` (sequence, tile of channels) are more than one a
    /// multiprocessor, since segments cost a second pass over the decays; else until there are eight (measured:
    /// docs/performance.md). In software no walk is longer than [`SOFTWARE_WALK`].
    pub(super) fn segments(&self, groups: usize, software: bool) -> Segments {
        let filling = if groups <= PROCESSORS {
            8 * PROCESSORS / groups
        } else {
            1
        };
        let short = if software {
            self.t.div_ceil(SOFTWARE_WALK)
        } else {
            1
        };
        let wanted = filling.max(short);
        let chunks = self.chunks().div_ceil(wanted.min(self.chunks()));
        Segments {
            count: self.chunks().div_ceil(chunks),
            tokens: chunks * CHUNK,
        }
    }

    /// The layout of `sums` in `scan_bwd`.
    fn layout(&self, sequences: usize, tiles: usize, segments: usize) -> Launch {
        let aligned = |n: usize| n.next_multiple_of(ALIGN);
        let partial = aligned(tiles * sequences * self.t * self.states);
        let slots = sequences * segments;
        let da_at = 2 * partial;
        let dd_at = da_at + aligned(slots * self.matrix());
        let grad_bias_at = dd_at + aligned(slots * self.channels);
        Launch {
            sequences,
            tiles,
            dc_at: partial,
            da_at,
            dd_at,
            grad_bias_at,
            words: grad_bias_at + slots * self.channels,
        }
    }

    /// As many sequences at a time as [`LAUNCH`] and scratch tensors of `words` allow, else one sequence and as many
    /// tiles of its channels as they do.
    pub(super) fn launch(&self, tiles: usize, segments: usize, words: usize) -> Launch {
        let fits = |sequences: usize, tiles: usize| {
            let points = 2 * sequences * self.t * self.channels;
            let layout = self.layout(sequences, tiles, segments);
            sequences * tiles * segments <= LAUNCH && points.max(layout.words) <= words
        };
        let halves = |n: usize| std::iter::successors(Some(n), |n| (*n > 1).then(|| n.div_ceil(2)));
        if let Some(sequences) = halves(self.b).find(|s| fits(*s, tiles)) {
            return self.layout(sequences, tiles, segments);
        }
        let few = halves(tiles).find(|t| fits(1, *t)).unwrap_or(1);
        self.layout(1, few, segments)
    }

    fn rates(&self, l: &mut Lower<'_>, io: &Views) -> View {
        let rates = l.scratch(self.matrix() + 2 * self.channels);
        let params = RatesParams {
            channels: self.channels as u32,
            states: self.states as u32,
        };
        let grid = grid_1d(rates.len.div_ceil(256));
        let kernel = Kernel::new("selective_scan/scan_rates")
            .set("TIMED", self.timed())
            .set("DECAYS", self.decays);
        let bindings = present([
            ("skip", Some(io.read("D"))),
            ("rates", Some(rates)),
            ("delta_bias", io.read_if("delta_bias")),
            ("a_log", io.read_if("A_log")),
        ]);
        l.run(kernel, &bindings, params, grid);
        rates
    }

    fn carry(
        &self,
        l: &mut Lower<'_>,
        [slots, rates, sum_dt]: [View; 3],
        back: bool,
        sequences: usize,
        [at, row, slot]: [usize; 3],
        segments: Segments,
    ) {
        let n = sequences * self.matrix();
        let params = CarryParams {
            n: n as u32,
            matrix: self.matrix() as u32,
            states: self.states as u32,
            channels: self.channels as u32,
            segments: segments.count as u32,
            at: at as u32,
            row: row as u32,
            slot: slot as u32,
        };
        let kernel = Kernel::new("selective_scan/scan_carry")
            .set("BACK", back)
            .set("DECAYS", self.decays);
        let bindings = present([
            ("slots", Some(slots)),
            ("rates", self.decays.then_some(rates)),
            ("sum_dt", self.decays.then_some(sum_dt)),
        ]);
        l.run(kernel, &bindings, params, grid_1d(n.div_ceil(256)));
    }

    /// What later segments send to earlier ones, into the slots of `dA_log`.
    fn carry_back(
        &self,
        l: &mut Lower<'_>,
        [x, cm, rates, sums]: [View; 4],
        launch: &Launch,
        sequence0: usize,
        segments: Segments,
    ) {
        let lanes = lanes(self.states);
        let tiles = self.channels.div_ceil(lanes.channels());
        let groups = launch.sequences * tiles * (segments.count - 1);
        let sum_dt = l.scratch(launch.sequences * segments.count * self.channels);
        let params = EndParams {
            t: self.t as u32,
            channels: self.channels as u32,
            states: self.states as u32,
            tiles: tiles as u32,
            segments: segments.count as u32,
            segment: segments.tokens as u32,
            groups: groups as u32,
            row0: (sequence0 * self.t) as u32,
            n: (x.len / 2) as u32,
            slots_at: launch.da_at as u32,
        };
        let kernel = lanes_kernel(lanes, "selective_scan/scan_end_bwd").set("DECAYS", self.decays);
        let bindings = present([
            ("x", Some(x)),
            ("cm", Some(cm)),
            ("sums", Some(sums)),
            ("rates", self.decays.then_some(rates)),
            ("sum_dt", self.decays.then_some(sum_dt)),
        ]);
        l.run(kernel, &bindings, params, grid_1d(groups));
        let strides = [launch.da_at, segments.count * self.matrix(), self.matrix()];
        self.carry(
            l,
            [sums, rates, sum_dt],
            true,
            launch.sequences,
            strides,
            segments,
        );
    }

    /// Second stage of dB and dC: the sums over the tiles of a launch; later tiles of a sequence add to it.
    fn sum_tiles(
        &self,
        l: &mut Lower<'_>,
        sums: View,
        launch: &Launch,
        tiles: std::ops::Range<usize>,
        sequence0: usize,
        io: &Views,
    ) {
        let n = launch.sequences * self.t * self.states;
        for (at, out) in [(0, io.wanted("Bm")), (launch.dc_at, io.wanted("Cm"))] {
            let Some(out) = out else { continue };
            let params = SumParams {
                n: n as u32,
                tiles: tiles.len() as u32,
                first: (sequence0 * self.t * self.states) as u32,
                accumulate: u32::from(tiles.start > 0),
            };
            let partials = sums.part(at, tiles.len() * n);
            let kernel = Kernel::new("selective_scan/scan_sum_bwd");
            l.run(
                kernel,
                &[("partials", partials), ("sums", out.view)],
                params,
                grid_1d(n.div_ceil(256)),
            );
        }
    }

    /// Second stage of the parameters' gradients; later sequences add to it.
    fn sum_slots(
        &self,
        l: &mut Lower<'_>,
        sums: View,
        launch: &Launch,
        slots: usize,
        first: bool,
        io: &Views,
    ) {
        let e = self.channels;
        let regions = [
            (launch.da_at, self.matrix(), io.wanted("A_log")),
            (launch.grad_bias_at, e, io.wanted("delta_bias")),
            (launch.dd_at, e, io.wanted("D")),
        ];
        for (at, n, out) in regions {
            let Some(mut out) = out else { continue };
            out.accumulate |= !first;
            column_sum(l, sums.part(at, slots * n), slots, n, out);
        }
    }
}

impl GpuOp for SelectiveScan {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (u, bm, saved) = (io.read("u"), io.read("Bm"), io.write("saved"));
        let delta_raw = io.read_if("delta_raw");
        let rates = self.rates(l, io);
        let lanes = lanes(self.states);
        let tiles = self.channels.div_ceil(lanes.channels());
        let segments = self.segments(self.b * tiles, l.caps().software);
        let groups = self.b * tiles * segments.count;
        let params = ForwardParams {
            t: self.t as u32,
            channels: self.channels as u32,
            states: self.states as u32,
            chunks: self.chunks() as u32,
            tiles: tiles as u32,
            segments: segments.count as u32,
            segment: segments.tokens as u32,
            groups: groups as u32,
        };
        if segments.count > 1 {
            let ends = ForwardParams {
                groups: (self.b * tiles * (segments.count - 1)) as u32,
                ..params
            };
            let sum_dt = l.scratch(self.b * segments.count * self.channels);
            let kernel = lanes_kernel(lanes, "selective_scan/scan_end_fwd")
                .set("CHUNK", CHUNK)
                .set("TIED", self.tied)
                .set("DECAYS", self.decays);
            let elapsed = self.decays.then_some(sum_dt);
            let bindings = present([
                ("u", Some(u)),
                ("bm", Some(bm)),
                ("saved", Some(saved)),
                ("rates", Some(rates)),
                ("delta_raw", delta_raw),
                ("sum_dt", elapsed),
            ]);
            l.run(kernel, &bindings, ends, grid_1d(ends.groups as usize));
            let slot = segments.tokens / CHUNK * self.matrix();
            let strides = [0, self.chunks() * self.matrix(), slot];
            self.carry(l, [saved, rates, sum_dt], false, self.b, strides, segments);
        }
        let kernel = lanes_kernel(lanes, "selective_scan/scan_fwd")
            .set("CHUNK", CHUNK)
            .set("PITCH", pitch(lanes.lanes))
            .set("GATED", self.gated)
            .set("TIED", self.tied)
            .set("DECAYS", self.decays);
        let bindings = present([
            ("u", Some(u)),
            ("bm", Some(bm)),
            ("saved", Some(saved)),
            ("rates", Some(rates)),
            ("delta_raw", delta_raw),
            ("cm", Some(io.read("Cm"))),
            ("y", Some(io.write("y"))),
            ("z", io.read_if("z")),
        ]);
        l.run(kernel, &bindings, params, grid_1d(groups));
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (u, bm, cm) = (io.read("u"), io.read("Bm"), io.read("Cm"));
        let (delta_raw, z) = (io.read_if("delta_raw"), io.read_if("z"));
        let (saved, grad_y) = (io.read("saved"), io.grad("y"));
        let rates = self.rates(l, io);
        let pairs = Pairs::new(self.states);
        let tiles = self.channels.div_ceil(pairs.channels());
        let segments = self.segments(self.b * tiles, l.caps().software);
        let limit = (l.caps().binding_bytes / 4).min(MAX_SCRATCH) as usize;
        let most = self.launch(tiles, segments.count, limit);
        let row = self.t * self.channels;
        let points = l.scratch(2 * most.sequences * row);
        let sums = l.scratch(most.words);
        let grad_u = or_scratch(l, io.wanted("u"), u.len);
        let grad_delta = self.timed().then(|| or_scratch(l, io.wanted("delta_raw"), u.len));
        let grad_z = self.gated.then(|| or_scratch(l, io.wanted("z"), u.len));
        let kernel = Kernel::new("selective_scan/scan_bwd")
            .set("THREADS", pairs.threads)
            .set("LANES", pairs.lanes)
            .set("CHUNK", CHUNK)
            .set("PITCH", pitch(pairs.lanes))
            .set("SEGMENTED", segments.count > 1)
            .set("GATED", self.gated)
            .set("TIED", self.tied)
            .set("DECAYS", self.decays);
        for sequence0 in (0..self.b).step_by(most.sequences) {
            let sequences = most.sequences.min(self.b - sequence0);
            let n = sequences * row;
            let x = points.part(0, 2 * n);
            let point = PointParams {
                n: n as u32,
                first: (sequence0 * row) as u32,
                channels: self.channels as u32,
                bias_at: self.matrix() as u32,
            };
            let pointwise = |path| {
                let kernel = Kernel::new(path).set("TIMED", self.timed());
                kernel.set("GATED", self.gated)
            };
            let grid = grid_1d(n.div_ceil(256));
            let step_rates = self.timed().then_some(rates);
            let bindings = present([
                ("grad_y", Some(grad_y)),
                ("x", Some(x)),
                ("rates", step_rates),
                ("delta_raw", delta_raw),
                ("z", z),
            ]);
            l.run(
                pointwise("selective_scan/scan_inputs_bwd"),
                &bindings,
                point,
                grid,
            );
            let launch = self.layout(sequences, most.tiles, segments.count);
            if segments.count > 1 {
                self.carry_back(l, [x, cm, rates, sums], &launch, sequence0, segments);
            }
            for tile0 in (0..tiles).step_by(most.tiles) {
                let some = tile0..(tile0 + most.tiles).min(tiles);
                let groups = sequences * some.len() * segments.count;
                let params = BackwardParams {
                    t: self.t as u32,
                    channels: self.channels as u32,
                    states: self.states as u32,
                    chunks: self.chunks() as u32,
                    first_tile: tile0 as u32,
                    tiles: some.len() as u32,
                    segments: segments.count as u32,
                    segment: segments.tokens as u32,
                    groups: groups as u32,
                    sequence0: sequence0 as u32,
                    n: n as u32,
                    rows: (sequences * self.t) as u32,
                    dc_at: launch.dc_at as u32,
                    da_at: launch.da_at as u32,
                    dd_at: launch.dd_at as u32,
                    grad_bias_at: launch.grad_bias_at as u32,
                };
                let bindings = [
                    ("x", x),
                    ("u", u),
                    ("bm", bm),
                    ("cm", cm),
                    ("rates", rates),
                    ("saved", saved),
                    ("grad_u", grad_u),
                    ("sums", sums),
                ];
                l.run(kernel.clone(), &bindings, params, grid_1d(groups));
                self.sum_tiles(l, sums, &launch, some, sequence0, io);
            }
            let slots = sequences * segments.count;
            self.sum_slots(l, sums, &launch, slots, sequence0 == 0, io);
            if self.gated || self.timed() {
                let gate_grad_y = self.gated.then_some(grad_y);
                let bindings = present([
                    ("x", Some(x)),
                    ("grad_delta", grad_delta),
                    ("z", z),
                    ("grad_y", gate_grad_y),
                    ("grad_z", grad_z),
                ]);
                l.run(
                    pointwise("selective_scan/scan_outputs_bwd"),
                    &bindings,
                    point,
                    grid,
                );
            }
        }
    }
}

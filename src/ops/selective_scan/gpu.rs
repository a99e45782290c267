//! Launches. The backward pass has two forms:
//! - `scan_bwd_subgroups`, where subgroups are large enough for the lanes that share a channel's states: one kernel from the
//!   inputs to the gradients;
//! - `scan_bwd` everywhere, between `scan_inputs_bwd` (dt, dp) and `scan_outputs_bwd` (`ddelta_raw`, dz).
//!
//! Both leave partial sums of dB and dC, of `dA_log`, dD and `ddelta_bias` to second stages.

use super::{CHUNK, SelectiveScan};
use crate::launch::{Bound, GpuOp, Lower, View, Views, grid_1d};
use crate::ops::lanes::{Lanes, pitch};
use crate::ops::reduce::{column_sum, or_scratch};
use crate::port::Pass;
use crate::shader::Kernel;
use crate::variant::{Needs, Variant};
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

    fn kernel(&self) -> Kernel {
        Kernel::new("selective_scan/scan_bwd")
            .set("THREADS", self.threads)
            .set("LANES", self.lanes)
            .set("CHUNK", CHUNK)
            .set("PITCH", pitch(self.lanes))
    }
}

/// How `scan_bwd_subgroups` spreads channels and states over threads: two of each a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Groups {
    /// Threads that share two channels.
    pub(super) lanes: usize,
    threads: usize,
}

impl Groups {
    /// Fewer states would leave too many of the threads without any.
    const MIN_STATES: usize = 9;
    const MAX_STATES: usize = 64;

    pub(super) fn new(states: usize) -> Option<Self> {
        let fits = (Self::MIN_STATES..=Self::MAX_STATES).contains(&states);
        fits.then(|| {
            let lanes = states.div_ceil(2).next_power_of_two();
            let threads = if lanes == 8 { 256 } else { 512 };
            Self { lanes, threads }
        })
    }

    fn channels(self) -> usize {
        2 * self.threads / self.lanes
    }

    fn kernel(self) -> Kernel {
        Kernel::new("selective_scan/scan_bwd_subgroups")
            .set("LANES", self.lanes)
            .set("GROUPS", self.threads / self.lanes)
            .set("CHUNK", CHUNK)
            // The more channels, the fewer steps of them fit.
            .set("STAGED", self.lanes)
    }
}

/// Subgroups of at least so many invocations.
const fn subgroups(
    name: &'static str,
    subgroup: u32,
    workgroup_threads: u32,
    workgroup_bytes: u32,
) -> Variant {
    let needs = Needs {
        subgroup,
        workgroup_threads,
        workgroup_bytes,
        storage_bindings: 12,
        ..Needs::WEBGPU
    };
    Variant {
        name,
        needs,
        ..Variant::PLAIN
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
    slots_at: u32,
}

/// Mirrors `Params` of `scan_bwd` and, but for the last field, of `scan_bwd_subgroups`.
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
    rows: u32,
    dc_at: u32,
    da_at: u32,
    dd_at: u32,
    grad_bias_at: u32,
    n: u32,
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

/// Where the gradients of what has a value a channel and step go: to scratch if nobody wants them.
struct Gradients {
    u: View,
    delta: Option<View>,
    z: Option<View>,
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
    /// tiles of its channels as they do. `points`: values of a channel and step that are kept.
    pub(super) fn launch(&self, tiles: usize, segments: usize, points: usize, words: usize) -> Launch {
        let fits = |sequences: usize, tiles: usize| {
            let points = points * sequences * self.t * self.channels;
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
        [rates, sums]: [View; 2],
        launch: &Launch,
        sequence0: usize,
        segments: Segments,
        io: &Views,
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
            slots_at: launch.da_at as u32,
        };
        let kernel = lanes_kernel(lanes, "selective_scan/scan_end_bwd")
            .set("GATED", self.gated)
            .set("DECAYS", self.decays);
        let of_decays = |view: Option<View>| view.filter(|_| self.decays);
        let bindings = present([
            ("grad_y", Some(io.grad("y"))),
            ("cm", Some(io.read("Cm"))),
            ("sums", Some(sums)),
            ("rates", of_decays(Some(rates))),
            ("sum_dt", of_decays(Some(sum_dt))),
            ("delta_raw", of_decays(io.read_if("delta_raw"))),
            ("z", io.read_if("z")),
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

    /// dt and dp, for `scan_bwd`.
    fn read_points(&self, l: &mut Lower<'_>, x: View, rates: View, params: PointParams, io: &Views) {
        let kernel = Kernel::new("selective_scan/scan_inputs_bwd")
            .set("TIMED", self.timed())
            .set("GATED", self.gated);
        let bindings = present([
            ("grad_y", Some(io.grad("y"))),
            ("x", Some(x)),
            ("rates", self.timed().then_some(rates)),
            ("delta_raw", io.read_if("delta_raw")),
            ("z", io.read_if("z")),
        ]);
        l.run(
            kernel,
            &bindings,
            params,
            grid_1d((params.n as usize).div_ceil(256)),
        );
    }

    /// `ddelta_raw` and dz, from what `scan_bwd` left.
    fn write_points(&self, l: &mut Lower<'_>, x: View, grads: &Gradients, params: PointParams, io: &Views) {
        let kernel = Kernel::new("selective_scan/scan_outputs_bwd")
            .set("TIMED", self.timed())
            .set("GATED", self.gated);
        let bindings = present([
            ("x", Some(x)),
            ("grad_delta", grads.delta),
            ("z", io.read_if("z")),
            ("grad_y", self.gated.then(|| io.grad("y"))),
            ("grad_z", grads.z),
        ]);
        l.run(
            kernel,
            &bindings,
            params,
            grid_1d((params.n as usize).div_ceil(256)),
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
    const VARIANTS: &'static [Variant] = &[
        subgroups("subgroups32", 32, 512, 49_152),
        subgroups("subgroups8", 8, 256, 32_768),
        Variant::PLAIN,
    ];

    fn takes(&self, variant: &Variant, _pass: Pass, _io: &Views) -> bool {
        let needed = variant.needs.subgroup as usize;
        needed == 0 || Groups::new(self.states).is_some_and(|groups| groups.lanes <= needed)
    }

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
        let rates = self.rates(l, io);
        let groups = Groups::new(self.states).filter(|_| l.variant().needs.subgroup > 0);
        let pairs = Pairs::new(self.states);
        let (kernel, channels, kept) = match groups {
            Some(groups) => (groups.kernel(), groups.channels(), 0),
            None => (pairs.kernel(), pairs.channels(), 2),
        };
        let tiles = self.channels.div_ceil(channels);
        let segments = self.segments(self.b * tiles, l.caps().software);
        let limit = (l.caps().binding_bytes / 4).min(MAX_SCRATCH) as usize;
        let most = self.launch(tiles, segments.count, kept, limit);
        let row = self.t * self.channels;
        let points = (kept > 0).then(|| l.scratch(kept * most.sequences * row));
        let sums = l.scratch(most.words);
        let grads = Gradients {
            u: or_scratch(l, io.wanted("u"), self.b * row),
            delta: self
                .timed()
                .then(|| or_scratch(l, io.wanted("delta_raw"), self.b * row)),
            z: self.gated.then(|| or_scratch(l, io.wanted("z"), self.b * row)),
        };
        let kernel = kernel
            .set("SEGMENTED", segments.count > 1)
            .set("GATED", self.gated)
            .set("TIED", self.tied)
            .set("DECAYS", self.decays);
        for sequence0 in (0..self.b).step_by(most.sequences) {
            let sequences = most.sequences.min(self.b - sequence0);
            let n = sequences * row;
            let point = PointParams {
                n: n as u32,
                first: (sequence0 * row) as u32,
                channels: self.channels as u32,
                bias_at: self.matrix() as u32,
            };
            let x = points.map(|points| points.part(0, 2 * n));
            if let Some(x) = x {
                self.read_points(l, x, rates, point, io);
            }
            let launch = self.layout(sequences, most.tiles, segments.count);
            if segments.count > 1 {
                self.carry_back(l, [rates, sums], &launch, sequence0, segments, io);
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
                    rows: (sequences * self.t) as u32,
                    dc_at: launch.dc_at as u32,
                    da_at: launch.da_at as u32,
                    dd_at: launch.dd_at as u32,
                    grad_bias_at: launch.grad_bias_at as u32,
                    n: n as u32,
                };
                let whole = |view: Option<View>| view.filter(|_| x.is_none());
                let bindings = present([
                    ("x", x),
                    ("u", Some(io.read("u"))),
                    ("bm", Some(io.read("Bm"))),
                    ("cm", Some(io.read("Cm"))),
                    ("rates", Some(rates)),
                    ("saved", Some(io.read("saved"))),
                    ("grad_u", Some(grads.u)),
                    ("sums", Some(sums)),
                    ("grad_y", whole(Some(io.grad("y")))),
                    ("delta_raw", whole(io.read_if("delta_raw"))),
                    ("grad_delta", whole(grads.delta)),
                    ("z", whole(io.read_if("z"))),
                    ("grad_z", whole(grads.z)),
                ]);
                l.run(kernel.clone(), &bindings, params, grid_1d(groups));
                self.sum_tiles(l, sums, &launch, some, sequence0, io);
            }
            let slots = sequences * segments.count;
            self.sum_slots(l, sums, &launch, slots, sequence0 == 0, io);
            if let Some(x) = x.filter(|_| self.gated || self.timed()) {
                self.write_points(l, x, &grads, point, io);
            }
        }
    }
}

//! The variant of the recurrences on f16 matrix units with the state in registers, for additive and for delta writes: an own
//! layout of operands and of saved states (`shaders/lib/half_chunk.wgsl`).

#[cfg(test)]
mod tests;

use super::gpu::{FIELDS_FWD, Params};
use super::{Decay, Sizes, TILE};
use crate::launch::{Bound, Lower, Sequences, View, Views, grid_1d};
use crate::ops::reduce::{or_like, or_scratch};
use crate::ops::slice::gpu::{WideRows, in_wide_rows};
use crate::shader::Kernel;
use crate::tensor::Dtype;
use crate::variant::{Needs, Variant};
use std::ops::Range;

/// Its kernels end in this name.
pub(crate) const HALF: Variant = Variant {
    name: "half_coop",
    needs: Needs {
        coop: true,
        workgroup_bytes: 49_152,
        workgroup_threads: 512,
        storage_bindings: 15,
        ..Needs::WEBGPU
    },
    storage: &[Dtype::F16],
    without_coop: &[],
};

/// Rows and columns of a block of a matrix unit.
const BLOCK: usize = 16;
/// Rows of a chunk of these kernels.
const ROWS: usize = 64;
/// Blocks of a row of K at most.
const MOST_KEY_BLOCKS: usize = 8;
/// Value columns of a workgroup of the state's kernels.
const STATE_COLUMNS: usize = 32;
/// Blocks of a row of K of narrow heads at most.
const NARROW: usize = 4;
/// Their subgroups, each with partial sums of its own.
const STATE_SUBGROUPS: usize = 4;
/// Workgroups of these kernels that keep a large GPU busy: about four a multiprocessor.
const BUSY: usize = 512;
/// Quads of the gradients of a chunk's pairs of rows (`shaders/lib/half_pairs.wgsl`).
const PAIRS: usize = 1536;

/// A recurrence over chunks.
pub(crate) struct HalfChunks {
    pub(crate) sizes: Sizes,
    pub(crate) scale: f32,
    pub(crate) decay: Decay,
    /// Whether writes correct the state (`beta`, `tm`), else they add.
    pub(crate) delta: bool,
    /// Writes a token.
    pub(crate) householder: usize,
    /// Whether all heads have the same q and k.
    pub(crate) shared: bool,
    /// Whether rows of q and k are brought to unit length first, with this added to their squares ([`HalfChunks::fits_unit`]).
    pub(crate) unit: Option<f32>,
}

/// What the forward pass keeps for the backward pass, sequence by sequence.
#[derive(Clone, Copy)]
struct Kept {
    /// Those of all chunks.
    states: View,
    /// Of a delta rule, Zn (`shaders/lib/half_chunk.wgsl`).
    zn: Option<View>,
    /// By channel, the bound P, which takes longer to compute than to read.
    scores: Option<View>,
}

impl Kept {
    /// The ports that keep it: Zn the second, all else the first.
    const PORTS: [&str; 2] = ["states", "tm"];

    fn views(self) -> impl Iterator<Item = View> {
        [Some(self.states), self.zn, self.scores].into_iter().flatten()
    }

    fn sequences(self, b: usize, part: &Range<usize>) -> Self {
        let of = |view: View| view.sequences(b, part);
        Self {
            states: of(self.states),
            zn: self.zn.map(of),
            scores: self.scores.map(of),
        }
    }

    fn states(self) -> Bound {
        ("states", self.states)
    }

    fn zn(self) -> Option<Bound> {
        self.zn.map(|zn| ("zn", zn))
    }

    fn scores(self) -> Option<Bound> {
        self.scores.map(|scores| ("kept", scores))
    }
}

/// What both passes make first.
struct Prepared {
    operands: View,
    /// Row factors.
    table: View,
}

impl HalfChunks {
    /// Blocks of a row of K.
    fn key_blocks(&self) -> usize {
        self.sizes.d_k.div_ceil(BLOCK)
    }

    /// Chunks of all heads.
    fn blocks(&self) -> usize {
        self.sizes.b * self.sizes.h * self.sizes.chunks()
    }

    /// Elements of the states as these kernels keep them: rows and columns padded to whole blocks and tiles.
    pub(crate) fn padded_states(&self) -> usize {
        self.blocks() * self.key_blocks() * BLOCK * self.state_tiles() * STATE_COLUMNS
    }

    /// Whether a chunk's gradients are computed by one workgroup a multiprocessor, by tiles of twice the columns: a delta rule has
    /// too many sums for two, unless heads are narrow.
    fn roomy(&self) -> bool {
        self.delta && (self.by_channel() || self.key_blocks() > NARROW)
    }

    /// Workgroups of the state's kernels a head: those for all padded columns.
    fn state_tiles(&self) -> usize {
        let tile = if self.roomy() {
            2 * STATE_COLUMNS
        } else {
            STATE_COLUMNS
        };
        self.sizes.d_v.div_ceil(tile) * (tile / STATE_COLUMNS)
    }

    /// The same with rows of keys that are whole quads, and what is copied for that, by channel and where gradients are sums over heads.
    /// All other rows are read and written an element at a time if they are no quads.
    fn in_quads(&self) -> (Self, [WideRows; 3]) {
        let width = self.sizes.d_k;
        let wide = match self.by_channel() || self.shared {
            true => width.next_multiple_of(4),
            false => width,
        };
        let keys = ["q", "k", "gk"].map(|name| WideRows { name, width, wide });
        let sizes = Sizes {
            d_k: wide,
            ..self.sizes
        };
        (Self { sizes, ..*self }, keys)
    }

    /// Whether the variant computes a call of this size, its states padded to no more than twice as many. Small heads of a delta
    /// rule are left to what multiplies pairs of f16: nearly equal keys need that.
    pub(crate) fn fits(&self) -> bool {
        let Sizes { d_k, d_v, chunk, .. } = self.sizes;
        let columns = if self.delta { TILE } else { STATE_COLUMNS };
        chunk == ROWS
            && !(self.by_channel() && (self.householder > 1 || self.shared))
            && self.key_blocks() <= MOST_KEY_BLOCKS
            && self.key_blocks() * BLOCK * d_v.next_multiple_of(columns) <= 2 * d_k * d_v
    }

    /// Whether the kernels can bring rows to unit length themselves.
    pub(crate) fn fits_unit(&self) -> bool {
        !self.by_channel() && !self.shared
    }

    /// Fields of the table: those of all, and what rows are multiplied by.
    fn fields(&self) -> usize {
        FIELDS_FWD + if self.unit.is_some() { 2 } else { 0 }
    }

    fn params(&self) -> Params {
        self.sizes.params(self.scale, self.fields())
    }

    fn by_channel(&self) -> bool {
        self.decay == Decay::Channel
    }

    /// Whether the operands hold K and Q as they are.
    fn plain(&self, back: bool) -> bool {
        back && !self.by_channel()
    }

    fn kernel(&self, path: &'static str, back: bool) -> Kernel {
        let kernel = self
            .sizes
            .kernel(path)
            .set("HOUSEHOLDER", self.householder)
            .set("SHARED", self.shared)
            .set("KEY_BLOCKS", self.key_blocks())
            .set("KEY_QUADS", self.sizes.d_k.is_multiple_of(4))
            .set("DELTA", self.delta)
            .set("ROOMY", self.roomy())
            .set("PLAIN", self.plain(back))
            .set("UNIT", self.unit.is_some());
        let kernel = match self.unit {
            Some(eps) if kernel.declares("EPS") => kernel.set("EPS", eps),
            _ => kernel,
        };
        kernel.set("CHANNEL", self.by_channel())
    }

    /// A kernel that looks at the decays of heads.
    fn decay_kernel(&self, path: &'static str, back: bool) -> Kernel {
        self.kernel(path, back)
            .set("DECAYS", matches!(self.decay, Decay::Constant | Decay::Scalar))
            .set("SCALAR", self.decay == Decay::Scalar)
    }

    /// What the forward pass keeps, in the memory of the ports for it.
    fn kept(&self, l: &mut Lower<'_>, port: impl Fn(&str) -> View) -> Kept {
        let padded = self.padded_states();
        let squares = self.blocks() * ROWS * ROWS;
        let scores = if self.by_channel() { squares } else { 0 };
        let [states, tm] = Kept::PORTS;
        let all = l.saved_f16(port(states), padded + scores);
        Kept {
            states: all.part(0, padded),
            zn: self.delta.then(|| l.saved_f16(port(tm), squares)),
            scores: (scores > 0).then(|| all.part(padded, scores)),
        }
    }

    /// Launches of `lower` with rows that its kernels take, by parts of the sequences where they need much scratch memory.
    fn in_parts(
        &self,
        l: &mut Lower<'_>,
        io: &Views,
        kept: Kept,
        lower: fn(&Self, &mut Lower<'_>, &Views, Kept),
    ) {
        let Sizes { b, h, .. } = self.sizes;
        let mut io = io.clone();
        io.reads.retain(|(name, _)| !Kept::PORTS.contains(name));
        io.writes.retain(|(name, _)| !Kept::PORTS.contains(name));
        let outs = io.all_writes().map(|out| out.view);
        let views = io.all_reads().copied().chain(outs).chain(kept.views());
        let all = Sequences {
            b,
            step: views.map(|view| view.step(b)).max().unwrap_or(1),
            least: BUSY.div_ceil(h * self.state_tiles()),
        };
        l.in_parts(all, |l, part| {
            let sizes = Sizes {
                b: part.len(),
                ..self.sizes
            };
            let (wide, rows) = Self { sizes, ..*self }.in_quads();
            let (io, kept) = (io.sequences(b, &part), kept.sequences(b, &part));
            in_wide_rows(l, &io, &rows, |l, io| lower(&wide, l, io, kept));
        });
    }

    /// The operands of all chunks, and the row factors; Zn and P to what is kept or, `back`, from there.
    fn prepare(&self, l: &mut Lower<'_>, io: &Views, kept: Kept, back: bool) -> Prepared {
        let keys = self.key_blocks() * BLOCK * ROWS;
        let query_rows = self.sizes.tokens.div_ceil(BLOCK) * BLOCK;
        let queries = query_rows * self.key_blocks() * BLOCK;
        let plain = usize::from(self.plain(back));
        let copies = usize::from(self.delta) + 1 + plain;
        let pairs = if self.by_channel() { 0 } else { query_rows * ROWS };
        let operands = l.scratch_f16(self.blocks() * (copies * keys + (1 + plain) * queries + pairs));
        let strengths = if self.delta { ROWS } else { 0 };
        let table = match self.by_channel() {
            true => l.scratch(self.blocks() * (self.key_blocks() * BLOCK + strengths)),
            false => self.sizes.scratch(l, self.fields()),
        };
        let grid = self.sizes.chunk_grid();
        let mut bindings = vec![
            ("q", io.read("q")),
            ("k", io.read("k")),
            ("operands", operands),
            ("table", table),
        ];
        bindings.extend(self.delta.then(|| ("beta", io.read("beta"))));
        if let Some(scores) = kept.scores() {
            let lower = (self.delta && !back).then(|| l.scratch(self.blocks() * ROWS * ROWS));
            let lower = lower.map(|lower| ("lower", lower));
            bindings.push(("gk", io.read("gk")));
            bindings.extend((!back).then_some(scores).into_iter().chain(lower));
            let kernel = self.kernel("chunks/channel_prep_fwd_half_coop", back);
            l.run(kernel.set("BACK", back), &bindings, self.params(), grid);
            if !self.delta {
                return Prepared { operands, table };
            }
            bindings = vec![("operands", operands), ("beta", io.read("beta"))];
            bindings.extend(lower);
        }
        bindings.extend(io.read_if("g").map(|g| ("g", g)));
        bindings.extend(kept.zn());
        let kernel = self.decay_kernel("chunks/chunk_prep_fwd_half_coop", back);
        l.run(kernel.set("BACK", back), &bindings, self.params(), grid);
        Prepared { operands, table }
    }

    /// Forward: o, and the states (and Zn) for the backward pass.
    pub(crate) fn lower_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let kept = self.kept(l, |name| io.write(name));
        self.in_parts(l, io, kept, Self::lower_part_fwd);
    }

    /// The gradients of all inputs.
    pub(crate) fn lower_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let kept = self.kept(l, |name| io.read(name));
        self.in_parts(l, io, kept, Self::lower_part_bwd);
    }

    fn lower_part_fwd(&self, l: &mut Lower<'_>, io: &Views, kept: Kept) {
        let Prepared { operands, table } = self.prepare(l, io, kept, false);
        let mut bindings = vec![
            ("operands", operands),
            ("table", table),
            ("v", io.read("v")),
            ("o", io.write("o")),
            kept.states(),
        ];
        bindings.extend(kept.zn().into_iter().chain(kept.scores()));
        let grid = self.sizes.grid(self.state_tiles());
        let kernel = self.kernel("chunks/state_fwd_half_coop", false);
        l.run(kernel, &bindings, self.params(), grid);
    }

    fn lower_part_bwd(&self, l: &mut Lower<'_>, io: &Views, kept: Kept) {
        let (v, grad_o) = (io.read("v"), io.grad("o"));
        let gates = self.decay == Decay::Scalar;
        let (sizes, params) = (self.sizes, self.params());
        // Gradients that nobody wants still need a place.
        let grad_of = |name, l: &mut Lower<'_>| or_like(l, io.wanted(name), io.read(name));
        let [of_q, of_k, grad_v] = ["q", "k", "v"].map(|name| grad_of(name, l));
        // A row a head, to be added up where heads share q and k.
        let [grad_q, grad_k] = [of_q, of_k].map(|grad| match self.shared {
            true => l.scratch_f16(grad.len * sizes.h),
            false => grad,
        });
        let state_tiles = self.state_tiles();
        let Prepared { operands, table } = self.prepare(l, io, kept, true);
        let padded = v.len / sizes.d_v * sizes.d_v.next_multiple_of(4);
        let grad_vn = if self.delta { l.scratch_f16(padded) } else { grad_v };
        let grad_states = l.scratch_f16(self.padded_states());
        let overlaps = gates.then(|| l.scratch(self.blocks() * state_tiles * STATE_SUBGROUPS));
        let overlaps = overlaps.map(|view| ("overlaps", view));
        let common = [("table", table), ("grad_o", grad_o), ("grad_states", grad_states)];
        let operands = ("operands", operands);

        let mut bindings = common.to_vec();
        bindings.extend([operands, ("grad_vn", grad_vn)]);
        bindings.extend(gates.then(|| kept.states()));
        bindings.extend(overlaps.into_iter().chain(kept.scores()));
        let kernel = self.kernel("chunks/state_bwd_half_coop", true);
        l.run(
            kernel.set("GATES", gates),
            &bindings,
            params,
            sizes.grid(state_tiles),
        );

        let mut bindings = common.to_vec();
        bindings.push(kept.states());
        if let Some(zn) = kept.zn() {
            let errors = [
                operands,
                zn,
                ("table", table),
                ("v", v),
                kept.states(),
                ("grad_vn", grad_vn),
                ("grad_v", grad_v),
                ("grad_beta", grad_of("beta", l)),
            ];
            let kernel = self.kernel("chunks/error_bwd_half_coop", true);
            l.run(kernel, &errors, params, sizes.chunk_grid());
            bindings.extend([("v", grad_vn), ("grad_v", grad_v)]);
        } else {
            bindings.push(("v", v));
        }
        if self.by_channel() {
            return self.lower_channel_bwd(l, io, bindings, [grad_q, grad_k]);
        }
        bindings.extend([operands, ("grad_q", grad_q), ("grad_k", grad_k)]);
        bindings.extend(overlaps);
        if gates {
            bindings.extend([("g", io.read("g")), ("grad_g", grad_of("g", l))]);
        }
        let kernel = self.decay_kernel("chunks/chunk_bwd_half_coop", true);
        l.run(kernel.set("GATES", gates), &bindings, params, sizes.chunk_grid());
        if self.shared {
            for (parts, sums) in [(grad_q, of_q), (grad_k, of_k)] {
                let n = sums.len / 4;
                let kernel = Kernel::new("chunks/head_sums_bwd");
                let params = [n as u32, sizes.h as u32, sizes.d_k as u32];
                let bindings = [("parts", parts), ("sums", sums)];
                l.run(kernel, &bindings, params, grid_1d(n.div_ceil(256)));
            }
        }
    }

    /// The end of the backward pass with a decay by channel, `bindings` being those of its first kernel.
    fn lower_channel_bwd(&self, l: &mut Lower<'_>, io: &Views, mut bindings: Vec<Bound>, grads: [View; 2]) {
        let sizes = self.sizes;
        let [q, k, gk] = ["q", "k", "gk"].map(|name| (name, io.read(name)));
        let matrices = 1 + usize::from(self.delta);
        let mut sums = vec![
            ("grad_pairs", l.scratch_f16(matrices * self.blocks() * 4 * PAIRS)),
            ("through", l.scratch(self.blocks() * sizes.d_k)),
        ];
        let names = ["query_sums", "key_sums"].into_iter();
        let names = names.chain(self.delta.then_some("erase_sums"));
        sums.extend(names.map(|name| (name, l.scratch_f16(k.1.len))));
        bindings.extend(&sums);
        let kernel = self.decay_kernel("chunks/chunk_bwd_half_coop", true);
        l.run(
            kernel.set("GATES", false),
            &bindings,
            self.params(),
            sizes.chunk_grid(),
        );
        let grad_gk = or_scratch(l, io.wanted("gk"), gk.1.len);
        let [grad_q, grad_k] = grads;
        sums.extend([
            q,
            k,
            gk,
            ("grad_q", grad_q),
            ("grad_k", grad_k),
            ("grad_gk", grad_gk),
        ]);
        let kernel = self.kernel("chunks/channel_bwd_half_coop", true);
        l.run(kernel, &sums, self.params(), sizes.chunk_grid());
    }
}

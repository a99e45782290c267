//! The launches of the variant on f16 matrix units with the state in registers.

use super::DeltaRule;
use crate::launch::{Lower, View, Views};
use crate::ops::Decay;
use crate::ops::chunks::TILE;
use crate::ops::chunks::gpu::FIELDS_FWD;
use crate::ops::reduce::or_scratch;
use crate::shader::Kernel;
use crate::tensor::Dtype;
use crate::variant::{Needs, Variant};

/// Its kernels end in this name.
pub(super) const VARIANT: Variant = Variant {
    name: "half_coop",
    needs: Needs {
        coop: true,
        workgroup_bytes: 49_152,
        storage_bindings: 15,
    },
    storage: &[Dtype::F16],
    without_coop: &[],
};

/// Rows and columns of a block of a matrix unit.
const BLOCK: usize = 16;
/// Rows of a chunk of these kernels.
const ROWS: usize = 64;
/// Subgroups of a workgroup, each with a block of the state's rows.
const SUBGROUPS: usize = 8;

impl DeltaRule {
    /// Blocks of a row of K.
    fn key_blocks(&self) -> usize {
        self.d_k.div_ceil(BLOCK)
    }

    /// Elements of the states as these kernels keep them: rows and columns padded to whole blocks and tiles.
    fn padded_states(&self) -> usize {
        let state = self.key_blocks() * BLOCK * self.d_v.div_ceil(TILE) * TILE;
        self.b * self.h * self.chunks() * state
    }

    /// Whether the variant computes a call of this size. The states have room in their port, which is in f32.
    pub(super) fn fits_half(&self) -> bool {
        self.chunk == ROWS
            && self.decay != Decay::Channel
            && self.d_k.is_multiple_of(4)
            && self.d_v.is_multiple_of(4)
            && self.key_blocks() <= SUBGROUPS
            && self.padded_states() <= 2 * self.b * self.h * self.chunks() * self.d_k * self.d_v
    }

    fn half_kernel(&self, path: &'static str, back: bool) -> Kernel {
        self.kernel(path)
            .set("KEY_BLOCKS", self.key_blocks())
            .set("BACK", back)
    }

    /// A kernel that looks at the decays of heads.
    fn half_head_kernel(&self, path: &'static str, back: bool) -> Kernel {
        self.half_kernel(path, back)
            .set("DECAYS", self.decay != Decay::None)
            .set("SCALAR", self.decay == Decay::Scalar)
    }

    /// The operands of all chunks, and the table of row factors; Tm and G to `squares`, or, `back`, from there.
    fn half_prepare(&self, l: &mut Lower<'_>, io: &Views, squares: View, back: bool) -> [View; 2] {
        let key_quads = self.key_blocks() * BLOCK * ROWS / 4;
        let query_blocks = self.chunk_tokens().div_ceil(BLOCK);
        let query_quads = query_blocks * self.key_blocks() * BLOCK * BLOCK / 4;
        let raw = if back { key_quads + query_quads } else { 0 };
        let quads = 2 * key_quads + query_quads + query_blocks * BLOCK * ROWS / 4 + raw;
        let operands = l.scratch_f16(self.b * self.h * self.chunks() * quads * 4);
        let table = self.sizes().scratch(l, FIELDS_FWD);
        let mut bindings = vec![
            ("q", io.read("q")),
            ("k", io.read("k")),
            ("beta", io.read("beta")),
            ("operands", operands),
            ("squares", squares),
            ("table", table),
        ];
        bindings.extend(io.read_if("g").map(|g| ("g", g)));
        let kernel = self.half_head_kernel("delta_rule/chunk_prep_fwd_half_coop", back);
        l.run(
            kernel,
            &bindings,
            self.params(FIELDS_FWD),
            self.sizes().chunk_grid(),
        );
        [operands, table]
    }

    pub(super) fn lower_half_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let [squares, states] = ["tm", "states"].map(|name| io.write(name).as_f16());
        let [operands, table] = self.half_prepare(l, io, squares, false);
        let bindings = [
            ("operands", operands),
            ("squares", squares),
            ("table", table),
            ("v", io.read("v")),
            ("o", io.write("o")),
            ("states", states),
        ];
        let grid = self.sizes().grid(self.d_v.div_ceil(TILE));
        let kernel = self.half_kernel("delta_rule/state_fwd_half_coop", false);
        l.run(kernel, &bindings, self.params(FIELDS_FWD), grid);
    }

    pub(super) fn lower_half_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let [squares, states] = ["tm", "states"].map(|name| io.read(name).as_f16());
        let (v, grad_o) = (io.read("v"), io.grad("o"));
        let gates = self.decay == Decay::Scalar;
        // Gradients that nobody wants still need a place.
        let grad_of = |name, l: &mut Lower<'_>| {
            let input = io.read(name);
            match io.wanted(name) {
                None if input.dtype == Dtype::F16 => l.scratch_f16(input.len),
                wanted => or_scratch(l, wanted, input.len),
            }
        };
        let [grad_q, grad_k, grad_v, grad_beta] = ["q", "k", "v", "beta"].map(|name| grad_of(name, l));
        let sizes = self.sizes();
        let params = self.params(FIELDS_FWD);
        let value_tiles = self.d_v.div_ceil(TILE);
        let [operands, table] = self.half_prepare(l, io, squares, true);
        let grad_vn = l.scratch_f16(v.len);
        let grad_states = l.scratch_f16(self.padded_states());
        let overlaps = l.scratch(self.b * self.h * self.chunks() * value_tiles * SUBGROUPS);

        let mut bindings = vec![
            ("operands", operands),
            ("table", table),
            ("grad_o", grad_o),
            ("grad_vn", grad_vn),
            ("grad_states", grad_states),
        ];
        if gates {
            bindings.extend([("states", states), ("overlaps", overlaps)]);
        }
        let kernel = self.half_kernel("delta_rule/state_bwd_half_coop", true);
        let kernel = kernel.set("GATES", gates);
        l.run(kernel, &bindings, params, sizes.grid(value_tiles));

        let mut bindings = vec![
            ("operands", operands),
            ("squares", squares),
            ("table", table),
            ("v", v),
            ("states", states),
            ("grad_o", grad_o),
            ("grad_vn", grad_vn),
            ("grad_states", grad_states),
            ("grad_q", grad_q),
            ("grad_k", grad_k),
            ("grad_v", grad_v),
            ("grad_beta", grad_beta),
        ];
        if gates {
            bindings.extend([
                ("g", io.read("g")),
                ("overlaps", overlaps),
                ("grad_g", grad_of("g", l)),
            ]);
        }
        let kernel = self.half_head_kernel("delta_rule/chunk_bwd_half_coop", true);
        l.run(kernel.set("GATES", gates), &bindings, params, sizes.chunk_grid());
    }
}

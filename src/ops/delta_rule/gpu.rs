use super::DeltaRule;
use crate::launch::GpuOp;
use crate::launch::{GpuOut, Lower, View};
use crate::ops::chunks::TILE;
use crate::ops::chunks::gpu::{FIELDS_BWD, FIELDS_FWD, Params, all_inputs};
use crate::ops::reduce::or_scratch;
use crate::shader::Kernel;

impl DeltaRule {
    fn params(&self, fields: usize) -> Params {
        self.sizes().params(self.scale, fields)
    }

    fn kernel(&self, path: &'static str) -> Kernel {
        self.sizes().kernel(path).set("STEPS", self.steps)
    }

    /// A kernel with a row a query: of a tile's C rows, only so many are computed.
    fn query_kernel(&self, path: &'static str) -> Kernel {
        self.kernel(path).set("USED", self.chunk_tokens())
    }

    /// Row factors and P; Tm (`inverse`) or G to `lower`. `ins` are the forward inputs.
    fn prepare(&self, l: &mut Lower<'_>, ins: &[View], p: View, lower: View, table: View, inverse: bool) {
        let fields = if inverse { FIELDS_FWD } else { FIELDS_BWD };
        let kernel = self
            .kernel("delta_rule/chunk_prep_fwd")
            .set("GATED", self.gated)
            .set("INVERSE", inverse);
        let mut bindings = vec![ins[0], ins[1], ins[3], p, lower, table];
        bindings.extend(ins.get(4));
        l.run(kernel, &bindings, self.params(fields), self.sizes().chunk_grid());
    }
}

impl GpuOp for DeltaRule {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let [q, k, v] = [ins[0], ins[1], ins[2]];
        let [o, tm, s] = [outs[0].view, outs[1].view, outs[2].view];
        // Vn has a row a step: `o` has room for it where a token is one step.
        let vn = if self.steps == 1 { o } else { l.scratch(v.len) };
        let sizes = self.sizes();
        let table = sizes.scratch(l, FIELDS_FWD);
        let p = sizes.scratch(l, self.chunk_tokens());
        let params = self.params(FIELDS_FWD);
        self.prepare(l, ins, p, tm, table, true);
        l.run(
            self.kernel("delta_rule/state_fwd"),
            &[k, v, table, tm, s, vn],
            params,
            sizes.grid(self.dv.div_ceil(TILE)),
        );
        let grid = sizes.tile_grid(self.dv);
        let mut bindings = vec![q, s, p, table, o];
        if self.steps > 1 {
            bindings.push(vn);
        }
        l.run(
            self.query_kernel("delta_rule/output_fwd"),
            &bindings,
            params,
            grid,
        );
    }

    fn gpu_bwd(
        &self,
        l: &mut Lower<'_>,
        ins: &[Option<View>],
        outs: &[Option<View>],
        d_outs: &[Option<View>],
        d_ins: &[Option<GpuOut>],
    ) {
        let (Some(tm), Some(s), Some(d_o)) = (outs[1], outs[2], d_outs[0]) else {
            return;
        };
        let ins = all_inputs(ins);
        let [q, k, v] = [ins[0], ins[1], ins[2]];
        // Gradients that nobody wants still need a place: others come out of them.
        let place = |i: usize, l: &mut Lower<'_>| or_scratch(l, d_ins[i], ins[i].len);
        let [d_q, d_k, d_v, d_beta] = [0, 1, 2, 3].map(|i| place(i, l));
        let sizes = self.sizes();
        let table = sizes.scratch(l, FIELDS_BWD);
        let [p, lower] = [self.chunk_tokens(), self.chunk].map(|rows| sizes.scratch(l, rows));
        let vn = l.scratch(v.len);
        let d = l.scratch(s.len);

        let params = self.params(FIELDS_BWD);
        let [key_grid, value_grid] = [self.dk, self.dv].map(|width| sizes.tile_grid(width));
        let chunk_grid = sizes.chunk_grid();

        self.prepare(l, &ins, p, lower, table, false);
        let bindings = [q, k, table, tm, p, d_o, d_v, d];
        l.run(
            self.kernel("delta_rule/state_bwd"),
            &bindings,
            params,
            sizes.grid(self.dv.div_ceil(TILE)),
        );
        let bindings = [k, v, s, tm, lower, table, vn, d_v];
        l.run(self.kernel("delta_rule/error_bwd"), &bindings, params, value_grid);
        let mut bindings = vec![d_o, d_v, vn, p, lower, table];
        bindings.extend(ins.get(4));
        let kernel = self.kernel("delta_rule/chunk_bwd").set("GATED", self.gated);
        l.run(kernel, &bindings, params, chunk_grid);
        let bindings = [q, k, d_o, s, p, table, d_q];
        l.run(
            self.query_kernel("linear_attention/query_key_bwd"),
            &bindings,
            params,
            key_grid,
        );
        let bindings = [k, s, d, table, vn, d_v, d_k];
        l.run(
            self.kernel("delta_rule/key_state_bwd"),
            &bindings,
            params,
            key_grid,
        );
        let bindings = [q, k, p, lower, d_k];
        l.run(
            self.kernel("delta_rule/key_chunk_bwd"),
            &bindings,
            params,
            key_grid,
        );
        let mut bindings = vec![table, d_beta];
        if self.gated {
            bindings.push(place(4, l));
        }
        let kernel = self
            .kernel("linear_attention/gate_bwd")
            .set("DELTA", true)
            .set("GATED", self.gated);
        l.run(kernel, &bindings, params, chunk_grid);
    }
}

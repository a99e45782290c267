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
        self.sizes().kernel(path).set("HOUSEHOLDER", self.householder)
    }

    fn deep_kernel(&self, path: &'static str) -> Kernel {
        self.sizes()
            .deep_kernel(path)
            .set("HOUSEHOLDER", self.householder)
    }

    /// A kernel with a row a query: of a tile's C rows, only so many are computed.
    fn query_kernel(&self, path: &'static str) -> Kernel {
        self.deep_kernel(path).set("USED", self.chunk_tokens())
    }

    /// Row factors and P; Tm (`inverse`) or G to `lower`. `ins` are the forward inputs.
    fn prepare(
        &self,
        l: &mut Lower<'_>,
        ins: &[View],
        scores: View,
        lower: View,
        table: View,
        inverse: bool,
    ) {
        let fields = if inverse { FIELDS_FWD } else { FIELDS_BWD };
        let kernel = self
            .kernel("delta_rule/chunk_prep_fwd")
            .set("DECAYS", self.decays)
            .set("INVERSE", inverse);
        let mut bindings = vec![ins[0], ins[1], ins[3], scores, lower, table];
        bindings.extend(ins.get(4));
        l.run(kernel, &bindings, self.params(fields), self.sizes().chunk_grid());
    }
}

impl GpuOp for DeltaRule {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let [q, k, v] = [ins[0], ins[1], ins[2]];
        let [o, tm, states] = [outs[0].view, outs[1].view, outs[2].view];
        // Vn has a row a step: `o` has room for it where a token is one step.
        let vn = if self.householder == 1 {
            o
        } else {
            l.scratch(v.len)
        };
        let sizes = self.sizes();
        let table = sizes.scratch(l, FIELDS_FWD);
        let scores = sizes.scratch(l, self.chunk_tokens());
        let params = self.params(FIELDS_FWD);
        self.prepare(l, ins, scores, tm, table, true);
        l.run(
            self.deep_kernel("delta_rule/state_fwd"),
            &[k, v, table, tm, states, vn],
            params,
            sizes.grid(self.d_v.div_ceil(TILE)),
        );
        let grid = sizes.tile_grid(self.d_v);
        let mut bindings = vec![q, states, scores, table, o];
        if self.householder > 1 {
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
        grad_outs: &[Option<View>],
        grad_ins: &[Option<GpuOut>],
    ) {
        let (Some(tm), Some(states), Some(grad_o)) = (outs[1], outs[2], grad_outs[0]) else {
            return;
        };
        let ins = all_inputs(ins);
        let [q, k, v] = [ins[0], ins[1], ins[2]];
        // Gradients that nobody wants still need a place: others come out of them.
        let grad_of = |i: usize, l: &mut Lower<'_>| or_scratch(l, grad_ins[i], ins[i].len);
        let [grad_q, grad_k, grad_v, grad_beta] = [0, 1, 2, 3].map(|i| grad_of(i, l));
        let sizes = self.sizes();
        let table = sizes.scratch(l, FIELDS_BWD);
        let [scores, lower] = [self.chunk_tokens(), self.chunk].map(|rows| sizes.scratch(l, rows));
        let vn = l.scratch(v.len);
        let grad_states = l.scratch(states.len);

        let params = self.params(FIELDS_BWD);
        let [key_grid, value_grid] = [self.d_k, self.d_v].map(|width| sizes.tile_grid(width));
        let chunk_grid = sizes.chunk_grid();

        self.prepare(l, &ins, scores, lower, table, false);
        let bindings = [q, k, table, tm, scores, grad_o, grad_v, grad_states];
        l.run(
            self.kernel("delta_rule/state_bwd"),
            &bindings,
            params,
            sizes.grid(self.d_v.div_ceil(TILE)),
        );
        let bindings = [k, v, states, tm, lower, table, vn, grad_v];
        l.run(self.kernel("delta_rule/error_bwd"), &bindings, params, value_grid);
        let mut bindings = vec![grad_o, grad_v, vn, scores, lower, table];
        bindings.extend(ins.get(4));
        // Faster without matrix units: its two products are the smaller part.
        let kernel = self
            .kernel("delta_rule/chunk_bwd")
            .set("DECAYS", self.decays)
            .set("COOP", false);
        l.run(kernel, &bindings, params, chunk_grid);
        let bindings = [q, k, grad_o, states, scores, table, grad_q];
        l.run(
            self.query_kernel("linear_attention/query_key_bwd"),
            &bindings,
            params,
            key_grid,
        );
        let bindings = [k, states, grad_states, table, vn, grad_v, grad_k];
        l.run(
            self.deep_kernel("delta_rule/key_state_bwd"),
            &bindings,
            params,
            key_grid,
        );
        let bindings = [q, k, scores, lower, grad_k];
        l.run(
            self.deep_kernel("delta_rule/key_chunk_bwd"),
            &bindings,
            params,
            key_grid,
        );
        let mut bindings = vec![table, grad_beta];
        if self.decays {
            bindings.push(grad_of(4, l));
        }
        let kernel = self
            .kernel("linear_attention/gate_bwd")
            .set("DELTA", true)
            .set("DECAYS", self.decays);
        l.run(kernel, &bindings, params, chunk_grid);
    }
}

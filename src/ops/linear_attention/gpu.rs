use super::{Decay, LinearAttention};
use crate::launch::GpuOp;
use crate::launch::{GpuOut, Lower, View};
use crate::ops::chunks::TILE;
use crate::ops::chunks::gpu::{FIELDS_BWD, FIELDS_FWD, all_inputs};
use crate::ops::reduce::or_scratch;
use crate::shader::Kernel;

/// What both passes make first.
struct Prepared {
    /// P, `[B,H,chunks,C,C]`.
    scores: View,
    /// Decay factors.
    table: View,
}

impl LinearAttention {
    fn by_channel(&self) -> bool {
        self.decay == Decay::Channel
    }

    /// `per_head` workgroups for each head of q and k of each sequence.
    fn key_grid(&self, per_head: usize) -> [u32; 3] {
        [per_head as u32, self.key_heads() as u32, self.b as u32]
    }

    /// A kernel over chunks.
    fn kernel(&self, path: &'static str) -> Kernel {
        self.sizes().kernel(path)
    }

    /// A kernel that looks up rows of keys and their decay factors, forward and backward alike.
    fn keyed(&self, path: &'static str, backward: bool) -> Kernel {
        self.sizes()
            .deep_kernel(path)
            .set("SHARED", self.shared_qk)
            .set("CHANNEL", self.by_channel())
            .set("BACKWARD", backward)
    }

    /// A kernel of decays by head.
    fn scalar(&self, path: &'static str) -> Kernel {
        self.kernel(path)
            .set("SHARED", self.shared_qk)
            .set("SCALAR", self.decay == Decay::Scalar)
    }

    fn decays(&self) -> bool {
        matches!(self.decay, Decay::Constant | Decay::Scalar)
    }

    /// Decay factors and P. `ins` are the forward inputs.
    fn prepare(&self, l: &mut Lower<'_>, ins: &[View], fields: usize) -> Prepared {
        let sizes = self.sizes();
        let scores = sizes.scratch(l, self.chunk);
        let params = sizes.params(self.scale, fields);
        let [q, k] = [ins[0], ins[1]];
        if self.by_channel() {
            let table = l.scratch(2 * q.len);
            let kernel = self.kernel("linear_attention/channel_factors_fwd");
            l.run(kernel, &[ins[3], table], params, sizes.tile_grid(self.d_k));
            let kernel = self.kernel("linear_attention/channel_prep_fwd");
            l.run(kernel, &[q, k, ins[3], scores], params, sizes.chunk_grid());
            return Prepared { scores, table };
        }
        let table = sizes.scratch(l, fields);
        let kernel = self
            .scalar("linear_attention/chunk_prep_fwd")
            .set("DECAYS", self.decays());
        let mut bindings = vec![q, k, scores, table];
        bindings.extend(ins.get(3));
        l.run(kernel, &bindings, params, self.key_grid(self.chunks()));
        Prepared { scores, table }
    }
}

impl GpuOp for LinearAttention {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let [q, k, v] = [ins[0], ins[1], ins[2]];
        let [o, states] = [outs[0].view, outs[1].view];
        let Prepared { scores, table } = self.prepare(l, ins, FIELDS_FWD);
        let (sizes, params) = (self.sizes(), self.sizes().params(self.scale, FIELDS_FWD));
        let kernel = self.keyed("linear_attention/chunk_states", false);
        l.run(kernel, &[k, v, table, states], params, sizes.state_grid());
        let kernel = self.keyed("linear_attention/chunk_values", false);
        l.run(
            kernel,
            &[q, v, states, scores, table, o],
            params,
            sizes.tile_grid(self.d_v),
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
        let (Some(states), Some(grad_o)) = (outs[1], grad_outs[0]) else {
            return;
        };
        let ins = all_inputs(ins);
        let [q, k, v] = [ins[0], ins[1], ins[2]];
        // Gradients that nobody wants still need a place.
        let grad_of = |i: usize, l: &mut Lower<'_>| or_scratch(l, grad_ins[i], ins[i].len);
        let [grad_q, grad_k, grad_v] = [0, 1, 2].map(|i| grad_of(i, l));
        let Prepared { scores, table } = self.prepare(l, &ins, FIELDS_BWD);
        let grad_states = l.scratch(states.len);
        let (sizes, params) = (self.sizes(), self.sizes().params(self.scale, FIELDS_BWD));

        let kernel = self.keyed("linear_attention/chunk_states", true);
        l.run(
            kernel,
            &[q, grad_o, table, grad_states],
            params,
            sizes.state_grid(),
        );
        let kernel = self.keyed("linear_attention/chunk_values", true);
        l.run(
            kernel,
            &[k, grad_o, grad_states, scores, table, grad_v],
            params,
            sizes.tile_grid(self.d_v),
        );
        let kernel = self
            .scalar("linear_attention/chunk_bwd")
            .set("DECAYS", self.decays())
            .set("COOP", false); // faster without
        l.run(kernel, &[grad_o, v, scores, table], params, sizes.chunk_grid());
        if self.by_channel() {
            let grad_gk = grad_of(3, l);
            let [x1, x3] = [(); 2].map(|()| l.scratch(q.len));
            let through = l.scratch(self.b * self.h * self.chunks() * self.d_k);
            let (gk, grid) = (ins[3], sizes.tile_grid(self.d_k));
            let kernel = self
                .kernel("linear_attention/channel_state_bwd")
                .set("CHANNEL", true);
            l.run(
                kernel,
                &[v, grad_o, states, grad_states, table, x1, x3, through],
                params,
                grid,
            );
            let kernel = self.kernel("linear_attention/channel_query_bwd");
            l.run(kernel, &[k, gk, scores, x1, grad_q], params, grid);
            let kernel = self.kernel("linear_attention/channel_key_bwd");
            l.run(kernel, &[q, k, gk, scores, x1, x3, grad_k], params, grid);
            let kernel = self.kernel("linear_attention/channel_gate_bwd");
            l.run(kernel, &[k, x1, x3, through, grad_gk], params, grid);
            return;
        }
        let grid = self.key_grid(self.d_k.div_ceil(TILE) * self.chunks());
        let kernel = self.scalar("linear_attention/query_key_bwd").set("DEPTH", 32);
        let bindings = [q, k, grad_o, states, scores, table, grad_q];
        l.run(kernel.clone(), &bindings, params, grid);
        let bindings = [k, q, v, states, scores, table, grad_k, grad_states];
        l.run(kernel.set("KEYS", true), &bindings, params, grid);
        if self.decay == Decay::Scalar {
            let kernel = self.kernel("linear_attention/gate_bwd");
            let grad_g = grad_of(3, l);
            l.run(kernel, &[table, grad_g], params, sizes.chunk_grid());
        }
    }
}

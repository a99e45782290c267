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
    p: View,
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
        self.kernel(path)
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

    fn gated(&self) -> bool {
        matches!(self.decay, Decay::Constant | Decay::Scalar)
    }

    /// Decay factors and P. `ins` are the forward inputs.
    fn prepare(&self, l: &mut Lower<'_>, ins: &[View], fields: usize) -> Prepared {
        let sizes = self.sizes();
        let p = sizes.scratch(l, self.chunk);
        let params = sizes.params(self.scale, fields);
        let [q, k] = [ins[0], ins[1]];
        if self.by_channel() {
            let table = l.scratch(2 * q.len);
            let kernel = self.kernel("linear_attention/channel_factors_fwd");
            l.run(kernel, &[ins[3], table], params, sizes.tile_grid(self.dk));
            let kernel = self.kernel("linear_attention/channel_prep_fwd");
            l.run(kernel, &[q, k, ins[3], p], params, sizes.chunk_grid());
            return Prepared { p, table };
        }
        let table = sizes.scratch(l, fields);
        let kernel = self
            .scalar("linear_attention/chunk_prep_fwd")
            .set("GATED", self.gated());
        let mut bindings = vec![q, k, p, table];
        bindings.extend(ins.get(3));
        l.run(kernel, &bindings, params, self.key_grid(self.chunks()));
        Prepared { p, table }
    }
}

impl GpuOp for LinearAttention {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let [q, k, v] = [ins[0], ins[1], ins[2]];
        let [o, s] = [outs[0].view, outs[1].view];
        let Prepared { p, table } = self.prepare(l, ins, FIELDS_FWD);
        let (sizes, params) = (self.sizes(), self.sizes().params(self.scale, FIELDS_FWD));
        let kernel = self.keyed("linear_attention/chunk_states", false);
        l.run(kernel, &[k, v, table, s], params, sizes.state_grid());
        let kernel = self.keyed("linear_attention/chunk_values", false);
        l.run(kernel, &[q, v, s, p, table, o], params, sizes.tile_grid(self.dv));
    }

    fn gpu_bwd(
        &self,
        l: &mut Lower<'_>,
        ins: &[Option<View>],
        outs: &[Option<View>],
        d_outs: &[Option<View>],
        d_ins: &[Option<GpuOut>],
    ) {
        let (Some(s), Some(d_o)) = (outs[1], d_outs[0]) else {
            return;
        };
        let ins = all_inputs(ins);
        let [q, k, v] = [ins[0], ins[1], ins[2]];
        // Gradients that nobody wants still need a place.
        let place = |i: usize, l: &mut Lower<'_>| or_scratch(l, d_ins[i], ins[i].len);
        let [d_q, d_k, d_v] = [0, 1, 2].map(|i| place(i, l));
        let Prepared { p, table } = self.prepare(l, &ins, FIELDS_BWD);
        let d = l.scratch(s.len);
        let (sizes, params) = (self.sizes(), self.sizes().params(self.scale, FIELDS_BWD));

        let kernel = self.keyed("linear_attention/chunk_states", true);
        l.run(kernel, &[q, d_o, table, d], params, sizes.state_grid());
        let kernel = self.keyed("linear_attention/chunk_values", true);
        l.run(
            kernel,
            &[k, d_o, d, p, table, d_v],
            params,
            sizes.tile_grid(self.dv),
        );
        let kernel = self
            .scalar("linear_attention/chunk_bwd")
            .set("GATED", self.gated());
        l.run(kernel, &[d_o, v, p, table], params, sizes.chunk_grid());
        if self.by_channel() {
            let d_gk = place(3, l);
            let [x1, x3] = [(); 2].map(|()| l.scratch(q.len));
            let through = l.scratch(self.b * self.h * self.chunks() * self.dk);
            let (gk, grid) = (ins[3], sizes.tile_grid(self.dk));
            let kernel = self
                .kernel("linear_attention/channel_state_bwd")
                .set("CHANNEL", true);
            l.run(kernel, &[v, d_o, s, d, table, x1, x3, through], params, grid);
            let kernel = self.kernel("linear_attention/channel_query_bwd");
            l.run(kernel, &[k, gk, p, x1, d_q], params, grid);
            let kernel = self.kernel("linear_attention/channel_key_bwd");
            l.run(kernel, &[q, k, gk, p, x1, x3, d_k], params, grid);
            let kernel = self.kernel("linear_attention/channel_gate_bwd");
            l.run(kernel, &[k, x1, x3, through, d_gk], params, grid);
            return;
        }
        let grid = self.key_grid(self.dk.div_ceil(TILE) * self.chunks());
        let kernel = self.scalar("linear_attention/query_key_bwd");
        let bindings = [q, k, d_o, s, p, table, d_q];
        l.run(kernel.clone(), &bindings, params, grid);
        let bindings = [k, q, v, s, p, table, d_k, d];
        l.run(kernel.set("KEYS", true), &bindings, params, grid);
        if self.decay == Decay::Scalar {
            let kernel = self.kernel("linear_attention/gate_bwd");
            let d_g = place(3, l);
            l.run(kernel, &[table, d_g], params, sizes.chunk_grid());
        }
    }
}

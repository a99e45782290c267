use super::{Decay, LinearAttention};
use crate::gpu::lower::{GpuOut, Lower, View};
use crate::gpu::shader::Kernel;
use crate::ops::GpuOp;
use bytemuck::{Pod, Zeroable};

/// Columns of the kernels' tiles.
const TILE: usize = 64;
/// Fields of the forward table: p, s, log decay.
const FIELDS_FWD: usize = 3;
/// Fields of the backward table, at the places of `shaders/lib/delta.wgsl`.
const FIELDS_BWD: usize = 21;

/// Mirrors `Params` of `shaders/lib/delta.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    t: u32,
    h: u32,
    chunks: u32,
    dk: u32,
    dv: u32,
    scale: f32,
    fields: u32,
}

/// What both passes make first.
struct Prepared {
    /// P, `[B,H,chunks,C,C]`.
    p: View,
    /// Decay factors.
    table: View,
}

impl LinearAttention {
    fn params(&self, fields: usize) -> Params {
        Params {
            t: self.t as u32,
            h: self.h as u32,
            chunks: self.chunks() as u32,
            dk: self.dk as u32,
            dv: self.dv as u32,
            scale: self.scale,
            fields: fields as u32,
        }
    }

    fn by_channel(&self) -> bool {
        self.decay == Decay::Channel
    }

    /// `per_head` workgroups for each head of each sequence.
    fn grid(&self, per_head: usize) -> [u32; 3] {
        [per_head as u32, self.h as u32, self.b as u32]
    }

    /// The same for the heads of q and k.
    fn key_grid(&self, per_head: usize) -> [u32; 3] {
        [per_head as u32, self.key_heads() as u32, self.b as u32]
    }

    /// A kernel over chunks.
    fn kernel(&self, path: &'static str) -> Kernel {
        Kernel::new(path).set("C", self.chunk)
    }

    /// A kernel that looks up rows of keys and decay factors.
    fn keyed(&self, path: &'static str) -> Kernel {
        self.kernel(path)
            .set("SHARED", self.shared_qk)
            .set("CHANNEL", self.by_channel())
    }

    /// A kernel of decays by head.
    fn scalar(&self, path: &'static str) -> Kernel {
        self.keyed(path).set("SCALAR", self.decay == Decay::Scalar)
    }

    fn gated(&self) -> bool {
        matches!(self.decay, Decay::Constant | Decay::Scalar)
    }

    /// Workgroups for the states of a head.
    fn state_tiles(&self) -> usize {
        self.dk.div_ceil(self.chunk) * self.dv.div_ceil(TILE)
    }

    /// Decay factors and P. `ins` are the forward inputs.
    fn prepare(&self, l: &mut Lower<'_>, ins: &[View], fields: usize) -> Prepared {
        let blocks = self.b * self.h * self.chunks();
        let p = l.scratch(blocks * self.chunk * self.chunk);
        let params = self.params(fields);
        let [q, k] = [ins[0], ins[1]];
        if self.by_channel() {
            let table = l.scratch(2 * q.len);
            let grid = self.grid(self.dk.div_ceil(TILE) * self.chunks());
            let kernel = self.kernel("linear_attention/channel_factors_fwd");
            l.run(kernel, &[ins[3], table], params, grid);
            let kernel = self.kernel("linear_attention/channel_prep_fwd");
            l.run(kernel, &[q, k, ins[3], p], params, self.grid(self.chunks()));
            return Prepared { p, table };
        }
        let table = l.scratch(blocks * self.chunk * fields);
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
        let params = self.params(FIELDS_FWD);
        let kernel = self.keyed("linear_attention/state_fwd");
        l.run(kernel, &[k, v, table, s], params, self.grid(self.state_tiles()));
        let kernel = self.keyed("linear_attention/output_fwd");
        let grid = self.grid(self.dv.div_ceil(TILE) * self.chunks());
        l.run(kernel, &[q, v, s, p, table, o], params, grid);
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
        let ins: Vec<View> = ins
            .iter()
            .map(|v| v.expect("the backward call reads every input"))
            .collect();
        let [q, k, v] = [ins[0], ins[1], ins[2]];
        // Gradients that nobody wants still need a place.
        let place =
            |i: usize, l: &mut Lower<'_>| d_ins[i].map_or_else(|| l.scratch(ins[i].len), |out| out.view);
        let [d_q, d_k, d_v] = [0, 1, 2].map(|i| place(i, l));
        let Prepared { p, table } = self.prepare(l, &ins, FIELDS_BWD);
        let d = l.scratch(s.len);
        let params = self.params(FIELDS_BWD);
        let key_tiles = self.dk.div_ceil(TILE) * self.chunks();
        let value_grid = self.grid(self.dv.div_ceil(TILE) * self.chunks());

        let kernel = self.keyed("linear_attention/state_bwd");
        l.run(kernel, &[q, d_o, table, d], params, self.grid(self.state_tiles()));
        let kernel = self.keyed("linear_attention/value_bwd");
        l.run(kernel, &[k, d, p, table, d_o, d_v], params, value_grid);
        let kernel = self
            .scalar("linear_attention/chunk_bwd")
            .set("GATED", self.gated());
        l.run(kernel, &[d_o, v, p, table], params, self.grid(self.chunks()));
        if self.by_channel() {
            let d_gk = place(3, l);
            let [x1, x3] = [(); 2].map(|()| l.scratch(q.len));
            let through = l.scratch(self.b * self.h * self.chunks() * self.dk);
            let (gk, grid) = (ins[3], self.grid(key_tiles));
            let kernel = self.keyed("linear_attention/channel_state_bwd");
            l.run(kernel, &[v, d_o, s, d, table, x1, x3, through], params, grid);
            let kernel = self.kernel("linear_attention/channel_query_bwd");
            l.run(kernel, &[k, gk, p, x1, d_q], params, grid);
            let kernel = self.kernel("linear_attention/channel_key_bwd");
            l.run(kernel, &[q, k, gk, p, x1, x3, d_k], params, grid);
            let kernel = self.kernel("linear_attention/channel_gate_bwd");
            l.run(kernel, &[k, x1, x3, through, d_gk], params, grid);
            return;
        }
        let kernel = self.scalar("linear_attention/query_bwd");
        let bindings = [q, k, s, p, table, d_o, d_q];
        l.run(kernel, &bindings, params, self.key_grid(key_tiles));
        let kernel = self.scalar("linear_attention/key_bwd");
        let bindings = [q, k, v, s, d, p, table, d_k];
        l.run(kernel, &bindings, params, self.key_grid(key_tiles));
        if self.decay == Decay::Scalar {
            let kernel = self.kernel("linear_attention/gate_bwd");
            let d_g = place(3, l);
            l.run(kernel, &[table, d_g], params, self.grid(self.chunks()));
        }
    }
}

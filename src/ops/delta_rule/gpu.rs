use super::DeltaRule;
use crate::gpu::lower::{GpuOut, Lower, View};
use crate::gpu::shader::Kernel;
use crate::ops::GpuOp;
use bytemuck::{Pod, Zeroable};

/// Columns of the kernels' tiles.
const TILE: usize = 64;
/// Fields of the forward table: p, s, beta.
const FIELDS_FWD: usize = 3;
/// Those, the rectangle sums, four partial sums each of dbeta, X1 . q, X2 . k, X3 . k, and <S, D>.
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

impl DeltaRule {
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

    /// `per_head` workgroups for each head of each sequence.
    fn grid(&self, per_head: usize) -> [u32; 3] {
        [per_head as u32, self.h as u32, self.b as u32]
    }

    fn kernel(&self, path: &'static str) -> Kernel {
        Kernel::new(path).set("C", self.chunk).set("STEPS", self.steps)
    }

    /// A kernel with a row a query: of a tile's C rows, only so many are computed.
    fn query_kernel(&self, path: &'static str) -> Kernel {
        self.kernel(path).set("USED", self.chunk_tokens())
    }

    /// Words of one matrix of `rows` x C a chunk.
    fn matrix_words(&self, rows: usize) -> usize {
        self.b * self.h * self.chunks() * rows * self.chunk
    }

    fn table(&self, l: &mut Lower<'_>, fields: usize) -> View {
        l.scratch(self.b * self.h * self.chunks() * self.chunk * fields)
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
        l.run(kernel, &bindings, self.params(fields), self.grid(self.chunks()));
    }
}

impl GpuOp for DeltaRule {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let [q, k, v] = [ins[0], ins[1], ins[2]];
        let [o, tm, s] = [outs[0].view, outs[1].view, outs[2].view];
        // Vn has a row a step: `o` has room for it where a token is one step.
        let vn = if self.steps == 1 { o } else { l.scratch(v.len) };
        let table = self.table(l, FIELDS_FWD);
        let p = l.scratch(self.matrix_words(self.chunk_tokens()));
        let tiles = self.dv.div_ceil(TILE);
        let params = self.params(FIELDS_FWD);
        self.prepare(l, ins, p, tm, table, true);
        l.run(
            self.kernel("delta_rule/state_fwd"),
            &[k, v, table, tm, s, vn],
            params,
            self.grid(tiles),
        );
        let grid = self.grid(tiles * self.chunks());
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
        let ins: Vec<View> = ins
            .iter()
            .map(|v| v.expect("the backward call reads every input"))
            .collect();
        let [q, k, v] = [ins[0], ins[1], ins[2]];
        // Gradients that nobody wants still need a place: others come out of them.
        let place =
            |i: usize, l: &mut Lower<'_>| d_ins[i].map_or_else(|| l.scratch(ins[i].len), |out| out.view);
        let [d_q, d_k, d_v, d_beta] = [0, 1, 2, 3].map(|i| place(i, l));
        let table = self.table(l, FIELDS_BWD);
        let [p, lower] = [self.chunk_tokens(), self.chunk].map(|rows| l.scratch(self.matrix_words(rows)));
        let vn = l.scratch(v.len);
        let d = l.scratch(s.len);

        let params = self.params(FIELDS_BWD);
        let [key_tiles, value_tiles] = [self.dk, self.dv].map(|n| n.div_ceil(TILE));
        let [key_grid, value_grid] = [key_tiles, value_tiles].map(|n| self.grid(n * self.chunks()));
        let chunk_grid = self.grid(self.chunks());

        self.prepare(l, &ins, p, lower, table, false);
        let bindings = [q, k, table, tm, p, d_o, d_v, d];
        l.run(
            self.kernel("delta_rule/state_bwd"),
            &bindings,
            params,
            self.grid(value_tiles),
        );
        let bindings = [k, v, s, tm, lower, table, vn, d_v];
        l.run(self.kernel("delta_rule/error_bwd"), &bindings, params, value_grid);
        let mut bindings = vec![d_o, d_v, vn, p, lower, table];
        bindings.extend(ins.get(4));
        let kernel = self.kernel("delta_rule/chunk_bwd").set("GATED", self.gated);
        l.run(kernel, &bindings, params, chunk_grid);
        let bindings = [q, k, s, p, table, d_o, d_q];
        l.run(
            self.query_kernel("delta_rule/query_bwd"),
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
        let kernel = self.kernel("delta_rule/gate_bwd").set("GATED", self.gated);
        l.run(kernel, &bindings, params, chunk_grid);
    }
}

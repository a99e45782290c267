use super::Attention;
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
use crate::ops::reduce::or_scratch;
use crate::shader::Kernel;
use bytemuck::{Pod, Zeroable};

/// Mirrors `Params` of the tiled kernels.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    t: u32,
    h: u32,
    d: u32,
    heads: u32,
    tiles: u32,
    scale: f32,
}

/// Mirrors `Params` of the kernels that go along a head.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct HeadParams {
    t: u32,
    h: u32,
    heads: u32,
    per: u32,
}

impl GpuOp for Attention {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let mut bindings = vec![ins[0], ins[1], ins[2], outs[0].view, outs[1].view];
        if self.forget {
            bindings.push(self.decay_sums(l, ins[3]));
        }
        self.run_tiles(l, "attention/attention_fwd", 4, &bindings);
    }

    fn gpu_bwd(
        &self,
        l: &mut Lower<'_>,
        ins: &[Option<View>],
        outs: &[Option<View>],
        grad_outs: &[Option<View>],
        grad_ins: &[Option<GpuOut>],
    ) {
        let (&[Some(q), Some(k), Some(v), ..], &[Some(o), Some(lse)], Some(grad_o)) =
            (ins, outs, grad_outs[0])
        else {
            return;
        };
        let rows = self.b * self.t * self.h;
        let log_f = ins.get(3).copied().flatten();
        let stats = l.scratch(if self.forget { 4 * rows } else { 2 * rows });
        let mut bindings = vec![o, grad_o, lse, stats];
        bindings.extend(log_f.map(|log_f| self.decay_sums(l, log_f)));
        let params = [rows as u32, self.d as u32];
        let kernel = Kernel::new("attention/attention_stats_bwd").set("FORGET", self.forget);
        l.run(kernel, &bindings, params, grid_1d(rows.div_ceil(32)));

        // Row and column sums of dz come with dq and dk, whether or not somebody wants these.
        let grad_log_f = grad_ins.get(3).copied().flatten();
        let read = [q, k, v, grad_o, stats];
        let mut sums = Vec::new();
        if grad_ins[0].is_some() || grad_log_f.is_some() {
            let mut bindings = [&read[..], &[or_scratch(l, grad_ins[0], q.len)]].concat();
            if self.forget {
                sums.push(l.scratch(rows));
                bindings.extend(sums.last());
            }
            self.run_tiles(l, "attention/attention_dq_bwd", 4, &bindings);
        }
        if grad_ins[1].is_some() || grad_ins[2].is_some() || grad_log_f.is_some() {
            let targets = [
                or_scratch(l, grad_ins[1], k.len),
                or_scratch(l, grad_ins[2], v.len),
            ];
            let mut bindings = [&read[..], &targets].concat();
            if self.forget {
                sums.push(l.scratch(rows));
                bindings.extend(sums.last());
            }
            // Two sets of output rows: with four rows a thread, heads above 128 would not fit the registers.
            let rows_a_thread = if self.d > 128 { 2 } else { 4 };
            self.run_tiles(l, "attention/attention_dkv_bwd", rows_a_thread, &bindings);
        }
        if let (Some(grad_log_f), &[row_sums, col_sums]) = (grad_log_f, &sums[..]) {
            let bindings = [row_sums, col_sums, grad_log_f.view];
            self.run_heads(l, "attention/attention_log_f_bwd", &bindings);
        }
    }
}

impl Attention {
    /// Sums of the log decays from the start of each head, two words a row.
    fn decay_sums(&self, l: &mut Lower<'_>, log_f: View) -> View {
        let sums = l.scratch(2 * self.b * self.t * self.h);
        self.run_heads(l, "attention/attention_decay_sums", &[log_f, sums]);
        sums
    }

    /// A kernel with a workgroup a head.
    fn run_heads(&self, l: &mut Lower<'_>, path: &'static str, bindings: &[View]) {
        let heads = self.b * self.h;
        let params = HeadParams {
            t: self.t as u32,
            h: self.h as u32,
            heads: heads as u32,
            per: self.t.div_ceil(256) as u32,
        };
        l.run(Kernel::new(path), bindings, params, grid_1d(heads));
    }

    /// A kernel whose workgroups take `16 * rows_a_thread` rows of a head.
    fn run_tiles(&self, l: &mut Lower<'_>, path: &'static str, rows_a_thread: usize, bindings: &[View]) {
        let tiles = self.t.div_ceil(16 * rows_a_thread);
        let heads = self.b * self.h;
        let kernel = Kernel::new(path)
            .set("RM", rows_a_thread)
            .set("SLICES", self.d.div_ceil(32))
            .set("VEC", self.d.is_multiple_of(4))
            .set("FORGET", self.forget);
        let params = Params {
            t: self.t as u32,
            h: self.h as u32,
            d: self.d as u32,
            heads: heads as u32,
            tiles: tiles as u32,
            scale: self.scale,
        };
        l.run(kernel, bindings, params, grid_1d(heads * tiles));
    }
}

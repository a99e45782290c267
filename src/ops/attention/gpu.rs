use super::Attention;
use crate::gpu::lower::{GpuOut, Lower, View};
use crate::gpu::shader::Kernel;
use crate::ops::{GpuOp, grid_1d};
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

impl GpuOp for Attention {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let bindings = [ins[0], ins[1], ins[2], outs[0].view, outs[1].view];
        self.run_tiles(l, "attention/attention_fwd", 4, &bindings);
    }

    fn gpu_bwd(
        &self,
        l: &mut Lower<'_>,
        ins: &[Option<View>],
        outs: &[Option<View>],
        d_outs: &[Option<View>],
        d_ins: &[Option<GpuOut>],
    ) {
        let ([Some(q), Some(k), Some(v)], [Some(o), Some(lse)], Some(d_o)) = (ins, outs, d_outs[0]) else {
            return;
        };
        let rows = self.b * self.t * self.h;
        let del = l.scratch(rows);
        let params = [rows as u32, self.d as u32];
        let kernel = Kernel::new("attention/attention_del_bwd");
        l.run(kernel, &[*o, d_o, del], params, grid_1d(rows.div_ceil(32)));

        let read = [*q, *k, *v, d_o, *lse, del];
        if let Some(dq) = d_ins[0] {
            let bindings = [&read[..], &[dq.view]].concat();
            self.run_tiles(l, "attention/attention_dq_bwd", 4, &bindings);
        }
        if d_ins[1].is_some() || d_ins[2].is_some() {
            let mut target = |d: Option<GpuOut>| match d {
                Some(d) => d.view,
                None => l.scratch(self.numel()),
            };
            let bindings = [&read[..], &[target(d_ins[1]), target(d_ins[2])]].concat();
            // Two sets of output rows: with four rows a thread, heads above 128 would not fit the registers.
            let rows_a_thread = if self.d > 128 { 2 } else { 4 };
            self.run_tiles(l, "attention/attention_dkv_bwd", rows_a_thread, &bindings);
        }
    }
}

impl Attention {
    /// A kernel whose workgroups take `16 * rows_a_thread` rows of a head.
    fn run_tiles(&self, l: &mut Lower<'_>, path: &'static str, rows_a_thread: usize, bindings: &[View]) {
        let tiles = self.t.div_ceil(16 * rows_a_thread);
        let heads = self.b * self.h;
        let kernel = Kernel::new(path)
            .set("RM", rows_a_thread)
            .set("SLICES", self.d.div_ceil(32))
            .set("VEC", self.d.is_multiple_of(4));
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

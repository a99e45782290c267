//! Launches, as functions that the head uses chunk by chunk.
//!
//! Every product is one of three layouts of one kernel: y = x W^T, dx = dy W, dW = dy^T x. The rule (`Gemm::tile`): of
//! the tiles 128, 64 and 32, the largest that fills 64 workgroups and pads the result by at most a quarter more than
//! tiles of 32 would. The head of 4 classes and the odd tail of a short batch end up with 32.

use super::Linear;
use crate::gpu::lower::{GpuOut, Lower, View};
use crate::gpu::shader::Kernel;
use crate::ops::{GpuOp, grid_1d};
use bytemuck::{Pod, Zeroable};

/// Workgroups that a sum over k is cut for.
const WORKGROUPS: usize = 256;
/// Shortest part of a sum over k that is worth a pass over its result.
const MIN_PART: usize = 256;
/// k of every part is a multiple of this: what any of the kernels takes at once.
const STEP: usize = 32;
/// Most parts of a sum over rows, and fewest rows of one.
const SUM_PARTS: usize = 128;
const SUM_ROWS: usize = 64;

/// C\[m, n\] (+)= A B, with A stored \[m, k\] or (`ta`) \[k, m\], B stored \[k, n\] or (`tb`) \[n, k\].
#[derive(Debug, Clone, Copy)]
struct Gemm {
    m: usize,
    n: usize,
    k: usize,
    ta: bool,
    tb: bool,
}

/// Mirrors `Params` of `lib/gemm.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct GemmParams {
    part: [u32; 4],
    m: u32,
    n: u32,
    k: u32,
    accumulate: u32,
}

impl Gemm {
    /// Tiles of C.
    fn tiles(&self, tile: usize) -> usize {
        self.m.div_ceil(tile) * self.n.div_ceil(tile)
    }

    /// How much of k one workgroup takes. Only sums over rows (`ta`) are cut.
    fn part(&self, tile: usize) -> usize {
        let parts = WORKGROUPS.div_ceil(self.tiles(tile)).min(self.k / MIN_PART).max(1);
        let parts = if self.ta { parts } else { 1 };
        self.k.div_ceil(parts).next_multiple_of(STEP)
    }

    /// Edge of the plain kernel's tile.
    fn tile(&self) -> usize {
        let padded = |tile: usize| self.tiles(tile) * tile * tile;
        let fits = |tile: &usize| {
            let workgroups = self.tiles(*tile) * self.k.div_ceil(self.part(*tile));
            workgroups >= 64 && 4 * padded(*tile) <= 5 * padded(32)
        };
        [128, 64].into_iter().find(fits).unwrap_or(32)
    }

    fn run(&self, l: &mut Lower<'_>, a: View, b: View, bias: Option<View>, c: GpuOut) {
        let tile = self.tile();
        let part = self.part(tile);
        let parts = self.k.div_ceil(part);
        let target = if parts == 1 {
            c
        } else {
            GpuOut {
                view: l.scratch(parts * self.m * self.n),
                accumulate: false,
            }
        };
        let (a_row, b_row) = (
            if self.ta { self.m } else { self.k },
            if self.tb { self.k } else { self.n },
        );
        let kernel = Kernel::new("linear/gemm")
            .set("TILE", tile)
            .set("TA", self.ta)
            .set("TB", self.tb)
            .set("VA", a_row % 4 == 0)
            .set("VB", b_row % 4 == 0)
            .set("VC", self.n % 4 == 0)
            .set("BIAS", bias.is_some());
        let bindings: Vec<View> = [a, b, target.view].into_iter().chain(bias).collect();
        let params = GemmParams {
            part: [part as u32; 4],
            m: self.m as u32,
            n: self.n as u32,
            k: self.k as u32,
            accumulate: target.accumulate.into(),
        };
        let grid = [self.n.div_ceil(tile), self.m.div_ceil(tile), parts].map(|x| x as u32);
        l.run(kernel, &bindings, params, grid);
        if parts > 1 {
            sum_parts(l, target.view, parts, c);
        }
    }
}

/// y (+)= x\[0\] + x\[1\] + .., in this order.
fn sum_parts(l: &mut Lower<'_>, x: View, parts: usize, y: GpuOut) {
    let n = y.view.len;
    let params = [n as u32, parts as u32, y.accumulate.into()];
    let kernel = Kernel::new("linear/sum_parts");
    l.run(kernel, &[x, y.view], params, grid_1d(n.div_ceil(256)));
}

/// y (+)= x W^T + b.
pub(crate) fn fwd(l: &mut Lower<'_>, op: &Linear, x: View, w: View, b: Option<View>, y: GpuOut) {
    let gemm = Gemm {
        m: op.rows,
        n: op.out,
        k: op.inp,
        ta: false,
        tb: true,
    };
    gemm.run(l, x, w, b, y);
}

/// dx (+)= dy W.
pub(crate) fn dx(l: &mut Lower<'_>, op: &Linear, dy: View, w: View, dx: GpuOut) {
    let gemm = Gemm {
        m: op.rows,
        n: op.inp,
        k: op.out,
        ta: false,
        tb: false,
    };
    gemm.run(l, dy, w, None, dx);
}

/// dW (+)= dy^T x.
pub(crate) fn dw(l: &mut Lower<'_>, op: &Linear, dy: View, x: View, dw: GpuOut) {
    let gemm = Gemm {
        m: op.out,
        n: op.inp,
        k: op.rows,
        ta: true,
        tb: false,
    };
    gemm.run(l, dy, x, None, dw);
}

/// db (+)= column sums of dy.
pub(crate) fn db(l: &mut Lower<'_>, op: &Linear, dy: View, db: GpuOut) {
    let part = op.rows.div_ceil(SUM_PARTS).max(SUM_ROWS);
    let parts = op.rows.div_ceil(part);
    let sums = l.scratch(parts * op.out);
    let grid = [op.out.div_ceil(32) as u32, parts as u32, 1];
    let params = [op.rows as u32, op.out as u32, part as u32];
    l.run(Kernel::new("linear/column_sums_bwd"), &[dy, sums], params, grid);
    sum_parts(l, sums, parts, db);
}

impl GpuOp for Linear {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        fwd(l, self, ins[0], ins[1], ins.get(2).copied(), outs[0]);
    }

    fn gpu_bwd(
        &self,
        l: &mut Lower<'_>,
        ins: &[Option<View>],
        _outs: &[Option<View>],
        d_outs: &[Option<View>],
        d_ins: &[Option<GpuOut>],
    ) {
        let Some(dy) = d_outs[0] else { return };
        if let (Some(w), Some(out)) = (ins[1], d_ins[0]) {
            dx(l, self, dy, w, out);
        }
        if let (Some(x), Some(out)) = (ins[0], d_ins[1]) {
            dw(l, self, dy, x, out);
        }
        if let Some(out) = d_ins.get(2).copied().flatten() {
            db(l, self, dy, out);
        }
    }
}

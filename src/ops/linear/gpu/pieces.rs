//! Products of several layers of one input (`projections`), whose matrices lie one behind another ([`Lower::joined`]).

use super::{Gemm, PIECES, STEP, amax, fwd};
use crate::launch::{GpuOut, Lower, View};
use crate::ops::linear::Linear;
use crate::ops::slice::gpu::{copy_of_part, copy_to_part};
use crate::tensor::{BINDING_ALIGN, Dtype};

/// Matrices that lie one behind another in the place of one, each with some columns of all rows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pieces<'a> {
    None,
    OfA(&'a [usize]),
    OfC(&'a [usize]),
}

impl Pieces<'_> {
    /// Columns of each.
    fn columns(&self) -> &[usize] {
        match self {
            Self::None => &[],
            Self::OfA(columns) | Self::OfC(columns) => columns,
        }
    }

    pub(super) fn of_a(&self) -> usize {
        match self {
            Self::OfA(columns) => columns.len(),
            _ => 1,
        }
    }

    pub(super) fn of_c(&self) -> usize {
        match self {
            Self::OfC(columns) => columns.len(),
            _ => 1,
        }
    }

    /// Where they end.
    pub(super) fn ends(&self) -> [u32; PIECES] {
        let mut end = 0;
        let mut ends = [0; PIECES];
        for (at, columns) in ends.iter_mut().zip(self.columns()) {
            end += *columns as u32;
            *at = end;
        }
        ends
    }
}

impl Gemm {
    /// Whether A or C may lie in these pieces: on matrix units, where addresses advance.
    fn takes_pieces(&self, pieces: Pieces<'_>, coop: bool, half: bool) -> bool {
        let tiling = self.tiling(coop, half);
        let [rows, cols] = tiling.tile();
        let fills = self.m >= rows && self.n >= cols && self.k >= STEP;
        let quads = self.n.is_multiple_of(4) && (self.ta || self.k.is_multiple_of(4));
        let fits = match pieces {
            Pieces::None => true,
            Pieces::OfA(_) => self.ta || !self.tb,
            Pieces::OfC(_) => !self.ta,
        };
        let columns = pieces.columns();
        let in_quads = columns.iter().all(|columns| columns.is_multiple_of(4));
        tiling.on_units() && fills && quads && fits && in_quads && columns.len() <= PIECES
    }

    /// Whether pieces end within tiles of C or, of A along k, within steps: the last one may, as what its last step has of others is
    /// made zero.
    pub(super) fn straddles(&self, pieces: Pieces<'_>, [rows, cols]: [usize; 2]) -> bool {
        let (columns, of) = match pieces {
            Pieces::None => return false,
            Pieces::OfA(columns) if self.ta => (columns, rows),
            Pieces::OfA(columns) => (&columns[..columns.len() - 1], STEP),
            Pieces::OfC(columns) => (columns, cols),
        };
        !columns.iter().all(|columns| columns.is_multiple_of(of))
    }

    /// Sums of what is cut along k, from `rows` on: of each piece of C where the first one begins, among the parts and in C, and its
    /// elements.
    pub(super) fn cut_sums(&self, rows: usize, columns: &[usize]) -> Vec<([usize; 2], usize)> {
        let cuts = self.k.div_ceil(self.wave_part());
        let of = |first: &mut usize, columns: &usize| {
            let numel = (self.m - rows) * columns;
            let at = [cuts * (self.m - rows) * *first, self.m * *first + rows * columns];
            *first += columns;
            Some((at, numel))
        };
        columns.iter().scan(0, of).collect()
    }
}

/// y = x W^T for several layers of one input, whose weights are rows of `w` one behind another: on matrix units one product for the
/// first layers, as long as their outputs are whole quads and can lie so too.
pub(crate) fn fwd_of_several(l: &mut Lower<'_>, ops: &[Linear], x: View, w: View, outs: &[GpuOut]) {
    let half = x.dtype == Dtype::F16 && w.dtype == Dtype::F16;
    let columns: Vec<usize> = ops.iter().map(|op| op.out).collect();
    let views: Vec<View> = outs.iter().map(|out| out.view).collect();
    let coop = l.variant().needs.coop;
    let joined = (2..=ops.len()).rev().find_map(|n| {
        let product = one_layer(&ops[..n]).of_y();
        let fits = product.takes_pieces(Pieces::OfC(&columns[..n]), coop, half)
            && outs[..n].iter().all(|out| !out.accumulate);
        Some((n, fits.then(|| l.joined(&views[..n])).flatten()?))
    });
    if let Some((n, y)) = joined {
        let all = one_layer(&ops[..n]).of_y();
        let some = w.part(0, all.n * all.k);
        if !half {
            one_scale(l, w, &[some]);
        }
        all.run_pieces(l, Pieces::OfC(&columns[..n]), x, some, None, GpuOut::new(y));
    }
    for i in joined.map_or(0, |(n, _)| n)..ops.len() {
        let w = matrix(l, ops, i, w);
        fwd(l, &ops[i], x, w, None, outs[i]);
    }
}

/// Several layers of one input as one.
fn one_layer(ops: &[Linear]) -> Linear {
    Linear {
        out: ops.iter().map(|op| op.out).sum(),
        ..ops[0].clone()
    }
}

/// dx (+)= sum of dy W and dW (+)= dy^T x, as wanted, for several layers of one input, whose weights are rows of `w` one behind
/// another. On matrix units each is one product for the first layers, as long as their gradients are whole quads and can lie so too.
pub(crate) fn bwd_of_several(
    l: &mut Lower<'_>,
    ops: &[Linear],
    [x, w]: [View; 2],
    grads: &[View],
    [grad_x, grad_w]: [Option<GpuOut>; 2],
) {
    let half = grads.iter().chain([&x, &w]).all(|x| x.dtype == Dtype::F16);
    let columns: Vec<usize> = ops.iter().map(|op| op.out).collect();
    let coop = l.variant().needs.coop;
    let joined = (2..=ops.len()).rev().find_map(|n| {
        let (all, pieces) = (one_layer(&ops[..n]), Pieces::OfA(&columns[..n]));
        let products = [all.of_grad_x(), all.of_grad_w()];
        let fits = products
            .iter()
            .all(|product| product.takes_pieces(pieces, coop, half));
        Some((n, fits.then(|| l.joined(&grads[..n])).flatten()?))
    });
    let rest = joined.map_or(0, |(n, _)| n)..ops.len();
    if !half && let Some((n, a)) = joined {
        one_scale(l, a, &grads[..n]);
    }
    if let Some(out) = grad_x {
        let mut accumulate = out.accumulate;
        if let Some((n, a)) = joined {
            let all = one_layer(&ops[..n]).of_grad_x();
            let some = w.part(0, all.n * all.k);
            all.run_pieces(l, Pieces::OfA(&columns[..n]), a, some, None, out);
            accumulate = true;
        }
        for i in rest.clone() {
            let w = matrix(l, ops, i, w);
            super::grad_x(l, &ops[i], grads[i], w, GpuOut { accumulate, ..out });
            accumulate = true;
        }
    }
    let Some(out) = grad_w else { return };
    if let Some((n, a)) = joined {
        let all = one_layer(&ops[..n]).of_grad_w();
        let view = out.view.part(0, all.m * all.n);
        all.run_pieces(l, Pieces::OfA(&columns[..n]), a, x, None, GpuOut { view, ..out });
    }
    for i in rest {
        let (first, len) = place(ops, i);
        if begins_binding(out.view, first) {
            let view = out.view.part(first, len);
            super::grad_w(l, &ops[i], grads[i], x, GpuOut { view, ..out });
        } else {
            let apart = l.scratch(len);
            super::grad_w(l, &ops[i], grads[i], x, GpuOut::new(apart));
            copy_to_part(l, apart, out, first);
        }
    }
}

/// Where the matrix of a layer begins among those of all, and its elements.
fn place(ops: &[Linear], i: usize) -> (usize, usize) {
    let numel = |op: &Linear| op.out * op.inp;
    (ops[..i].iter().map(numel).sum(), numel(&ops[i]))
}

fn begins_binding(all: View, first: usize) -> bool {
    (first * all.dtype.bytes()).is_multiple_of(BINDING_ALIGN)
}

/// The matrix of a layer, or a copy where it does not begin at a legal binding offset.
fn matrix(l: &mut Lower<'_>, ops: &[Linear], i: usize, all: View) -> View {
    let (first, len) = place(ops, i);
    if begins_binding(all, first) {
        return all.part(first, len);
    }
    let copy = l.scratch_of(all.dtype, len);
    copy_of_part(l, all, first, copy);
    copy
}

/// Lets the parts of an operand be scaled as all of it is, so that its largest magnitude is found once.
fn one_scale(l: &mut Lower<'_>, all: View, parts: &[View]) {
    let top = amax(l, all);
    parts.iter().for_each(|part| l.know("amax", *part, top));
}

#[cfg(test)]
mod tests {
    use super::super::{COOP_TILE, GemmParams};
    use super::*;
    use crate::gpu::entry::compute;
    use crate::gpu::{Gpu, Options, adapter};
    use crate::shader::Kernel;

    const ENTRY: &str = "
@group(0) @binding(8) var<storage, read_write> places: array<u32>; // of C and of the parts of what is cut, a row and column each

@compute @workgroup_size(64)
fn find(@builtin(global_invocation_id) id: vec3<u32>) {
    let own = vec2<u32>(0u, id.x / 128u * 128u);
    for (var row = 0u; row < params.m && id.x < params.n; row++) {
        places[row * params.n + id.x] = place_in_c(0u, row, id.x, own);
        let parts = (params.k + params.cut.x - 1u) / params.cut.x;
        for (var z = 0u; z < parts && row >= params.rows; z++) {
            let at = (z * (params.m - params.rows) + row - params.rows) * params.n + id.x;
            places[params.m * params.n + at] = place_in_sums(z + 1u, row, id.x, own);
        }
    }
}
";

    /// Where kernels on matrix units put C in pieces, and the parts of its last wave: each matrix row by row behind the one before
    /// it, and every part where the sums of `cut_sums` look for it. Those kernels run on hardware alone.
    #[test]
    fn pieces_of_c_are_where_the_sums_put_them() {
        pieces_of_c([128, 384, 256]);
        pieces_of_c([132, 16, 240]);
    }

    fn pieces_of_c(columns: [usize; 3]) {
        let (m, rows) = (300, 256);
        let gemm = Gemm {
            m,
            n: columns.iter().sum(),
            k: 640,
            ta: false,
            tb: true,
        };
        let (part, parts) = (gemm.wave_part(), gemm.k.div_ceil(gemm.wave_part()));
        let params = GemmParams {
            part: [gemm.k as u32; 4],
            cut: [part as u32; 4],
            ends: Pieces::OfC(&columns).ends(),
            m: m as u32,
            n: gemm.n as u32,
            k: gemm.k as u32,
            a_row: gemm.k as u32,
            last: [0; 3],
            rows: rows as u32,
            c_row: gemm.n as u32,
        };
        // A uniform's size is a multiple of 16.
        let mut bytes = bytemuck::bytes_of(&params).to_vec();
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        let kernel = Kernel::new("lib/gemm")
            .set("CUT", true)
            .set("PIECES_C", columns.len())
            .set("STRADDLED", gemm.straddles(Pieces::OfC(&columns), [COOP_TILE; 2]));
        let text = "alias Operand = f32;\n".to_owned() + &kernel.expand().unwrap() + ENTRY;
        let empty = vec![u32::MAX; (m + parts * (m - rows)) * gemm.n];
        let groups = gemm.n.div_ceil(64) as u32;
        for a in &adapter::adapters() {
            let gpu = Gpu::open(a, Options::default()).unwrap();
            let places = compute(&gpu, text.clone(), "find", (8, &empty), Some((6, &bytes)), groups);
            let (in_c, in_parts) = places.split_at(m * gemm.n);
            let mut matrices = Vec::new();
            for (p, columns_here) in columns.iter().enumerate() {
                let first: usize = columns[..p].iter().sum();
                for row in 0..m {
                    matrices.extend((first..first + columns_here).map(|col| in_c[row * gemm.n + col]));
                }
            }
            assert!(
                matrices.iter().copied().eq(0..(m * gemm.n) as u32),
                "{}",
                gpu.description()
            );
            let mut element = vec![0; in_c.len()];
            for (at, &place) in in_c.iter().enumerate() {
                element[place as usize] = at;
            }
            for ([from, to], numel) in gemm.cut_sums(rows, &columns) {
                for i in 0..numel {
                    let cut = element[to + i] - rows * gemm.n;
                    for z in 0..parts {
                        let place = in_parts[z * (m - rows) * gemm.n + cut] as usize;
                        assert_eq!(place, from + z * numel + i, "{}", gpu.description());
                    }
                }
            }
        }
    }
}

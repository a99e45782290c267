//! Sums over rows (gradients of weights and biases) in two stages with one order, on any device and any number of
//! threads: partial sums first, then the sum of those.

use crate::cpu::{Out, Real};
#[cfg(feature = "gpu")]
use crate::gpu::lower::{GpuOut, Lower, View};
#[cfg(feature = "gpu")]
use crate::gpu::shader::Kernel;
#[cfg(feature = "gpu")]
use bytemuck::{Pod, Zeroable};

/// Most partial sums that a kernel leaves: enough workgroups to fill a large GPU, few enough that they cost little.
pub(crate) const MAX_PARTS: usize = 1024;

/// Most pieces that a twin splits its rows into.
const MAX_PIECES: usize = 64;

/// Rows in pieces that threads share out: their number does not depend on the number of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pieces {
    /// Rows of a piece; the last may have fewer.
    pub rows: usize,
    /// Pieces.
    pub count: usize,
}

impl Pieces {
    /// Splits `rows` (at least one).
    pub(crate) fn new(rows: usize) -> Self {
        let per = rows.div_ceil(MAX_PIECES);
        Self {
            rows: per,
            count: rows.div_ceil(per),
        }
    }

    /// Zeros for `n` sums of each piece.
    pub(crate) fn partials<R: Real>(&self, n: usize) -> Vec<R> {
        vec![R::ZERO; self.count * n]
    }
}

/// Adds the pieces' partial sums `[count, n]` to `sum` `[n]`, in order.
pub(crate) fn add_partials<R: Real>(sum: &mut [R], partials: &[R]) {
    for part in partials.chunks(sum.len()) {
        for (sum, p) in sum.iter_mut().zip(part) {
            *sum += *p;
        }
    }
}

/// A twin's output, or `len` elements that nobody reads.
pub(crate) fn wanted_or<'a, R: Real>(out: &'a mut Out<'_, R>, unread: &'a mut Vec<R>, len: usize) -> &'a mut [R] {
    match out.wanted() {
        Some((data, _)) => data,
        None => {
            unread.resize(len, R::ZERO);
            unread
        }
    }
}

/// Mirrors `Params` of the kernel.
#[cfg(feature = "gpu")]
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    parts: u32,
    n: u32,
    accumulate: u32,
}

/// Second stage: sums `partial` `[parts, n]` over its rows into `out` `[n]`, or adds to it.
#[cfg(feature = "gpu")]
pub(crate) fn column_sum(l: &mut Lower<'_>, partial: View, parts: usize, n: usize, out: GpuOut) {
    let columns = n.next_power_of_two().min(32);
    let params = Params {
        parts: parts as u32,
        n: n as u32,
        accumulate: u32::from(out.accumulate),
    };
    let kernel = Kernel::new("reduce/column_sum").set("COLUMNS", columns);
    let grid = super::grid_1d(n.div_ceil(columns));
    l.run(kernel, &[partial, out.view], params, grid);
}

/// Where an output goes: memory of the call alone if nobody wants it.
#[cfg(feature = "gpu")]
pub(crate) fn or_scratch(l: &mut Lower<'_>, out: Option<GpuOut>, len: usize) -> View {
    match out {
        Some(out) => out.view,
        None => l.scratch(len),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_all_rows() {
        for rows in 1..1000 {
            let p = Pieces::new(rows);
            assert!(p.count <= MAX_PIECES && p.rows * p.count >= rows && p.rows * (p.count - 1) < rows);
        }
    }
}

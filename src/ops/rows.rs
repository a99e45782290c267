//! What ops over the rows of a matrix share: checks of their sizes and how rows are spread over threads.

#[cfg(feature = "gpu")]
use super::reduce::MAX_PARTS;
use crate::error::UserError;
#[cfg(feature = "gpu")]
use crate::shader::Kernel;
use crate::twin::Real;
#[cfg(feature = "gpu")]
use bytemuck::{Pod, Zeroable};

/// Widest row: a thread holds a share of its row in registers, 32 columns at most.
pub(crate) const MAX_WIDTH: usize = 8192;

/// Most elements of a tensor: any index of a grid over them, its overhang included, fits in a u32.
const MAX_ELEMENTS: u64 = (1 << 31) - 1;

/// Refuses empty sizes and tensors with too many elements.
pub(crate) fn check_sizes(op: &'static str, sizes: &[(&str, usize)]) -> Result<(), UserError> {
    let mut numel = 1u64;
    for &(name, size) in sizes {
        if size == 0 {
            let reason = format!("{name} is 0: at least 1");
            return Err(UserError::Shape { op, reason });
        }
        numel = numel.saturating_mul(size as u64);
    }
    if numel > MAX_ELEMENTS {
        let names: Vec<&str> = sizes.iter().map(|(name, _)| *name).collect();
        let reason = format!("{} = {numel} elements: at most {MAX_ELEMENTS}", names.join(" x "));
        return Err(UserError::Shape { op, reason });
    }
    Ok(())
}

/// Refuses a matrix that the row kernels cannot hold.
pub(crate) fn check_rows(op: &'static str, rows: usize, d: usize) -> Result<(), UserError> {
    check_sizes(op, &[("rows", rows), ("d", d)])?;
    if d > MAX_WIDTH {
        let reason = format!("d is {d}: at most {MAX_WIDTH}");
        return Err(UserError::Shape { op, reason });
    }
    Ok(())
}

/// Rows on workgroups of 256 threads, as `shaders/lib/row.wgsl` has them: narrow rows lie side by side, so that all
/// threads work and neighbours read neighbouring elements.
#[cfg(feature = "gpu")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Threads of a row: a power of two, about four columns a thread but whole groups of 32 where the row has them.
    pub lanes: usize,
    /// Columns of a thread, or quads of them.
    pub per: usize,
    /// Whether threads take columns by quads.
    pub quads: bool,
}

#[cfg(feature = "gpu")]
impl Layout {
    /// The layout for rows of `d` columns.
    pub(crate) fn new(d: usize) -> Self {
        let fewest = d.next_power_of_two().min(32);
        let lanes = d.div_ceil(4).next_power_of_two().clamp(fewest, 256);
        Self {
            lanes,
            per: d.div_ceil(lanes),
            quads: false,
        }
    }

    /// The same by quads where rows are made of them, about four a thread, and else about eight columns, for kernels whose
    /// bindings are of `Lanes`.
    pub(crate) fn quads(d: usize) -> Self {
        if !d.is_multiple_of(4) {
            let lanes = d.div_ceil(8).next_power_of_two().min(256);
            return Self {
                lanes,
                per: d.div_ceil(lanes),
                quads: false,
            };
        }
        let fewest = (d / 4).next_power_of_two().min(8);
        let lanes = d.div_ceil(16).next_power_of_two().clamp(fewest, 256);
        Self {
            lanes,
            per: (d / 4).div_ceil(lanes),
            quads: true,
        }
    }

    /// Workgroups for one pass over `rows`.
    pub(crate) fn groups(self, rows: usize) -> usize {
        rows.div_ceil(256 / self.lanes)
    }

    /// Workgroups for kernels that also sum over rows: each loops over rows and leaves one partial sum.
    pub(crate) fn parts(self, rows: usize) -> usize {
        self.groups(rows).min(MAX_PARTS)
    }

    /// A kernel over this layout.
    pub(crate) fn kernel(self, path: &'static str) -> Kernel {
        let kernel = Kernel::new(path).set("LANES", self.lanes).set("PER", self.per);
        if self.quads {
            kernel.set("WIDE", true)
        } else {
            kernel
        }
    }
}

/// A kernel of a thread an element of rows of `width`, `n` in all, or a quad where rows are made of them; how many threads.
#[cfg(feature = "gpu")]
pub(crate) fn by_quads(path: &'static str, n: usize, width: usize) -> (Kernel, usize) {
    let quads = width.is_multiple_of(4);
    let kernel = Kernel::new(path).set("WIDE", quads);
    (kernel, n / if quads { 4 } else { 1 })
}

/// Mirrors `Params` of the kernels that normalise rows.
#[cfg(feature = "gpu")]
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct NormParams {
    rows: u32,
    d: u32,
    eps: f32,
    parts: u32,
}

#[cfg(feature = "gpu")]
impl NormParams {
    /// `parts`: partial sums that a backward kernel leaves.
    pub(crate) fn new([rows, d]: [usize; 2], eps: f32, parts: usize) -> Self {
        Self {
            rows: rows as u32,
            d: d as u32,
            eps,
            parts: parts as u32,
        }
    }
}

/// Sum of products. Sixteen running sums, so that the loop vectorises.
#[inline(always)]
pub(crate) fn dot<R: Real>(a: &[R], b: &[R]) -> R {
    debug_assert_eq!(a.len(), b.len());
    let mut sums = [R::ZERO; 16];
    let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..16 {
            sums[i] += a[i] * b[i];
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(rest_a).zip(rest_b) {
        *sum += *a * *b;
    }
    sums.iter().copied().sum()
}

/// Sum of a slice, as [`dot`].
#[inline(always)]
pub(crate) fn sum<R: Real>(a: &[R]) -> R {
    let mut sums = [R::ZERO; 16];
    let (a, rest) = a.as_chunks::<16>();
    for a in a {
        for i in 0..16 {
            sums[i] += a[i];
        }
    }
    sums.iter_mut().zip(rest).for_each(|(sum, a)| *sum += *a);
    sums.iter().copied().sum()
}

/// The largest element; sixteen at a time, so that the loop vectorises.
#[inline(always)]
pub(crate) fn largest<R: Real>(z: &[R]) -> R {
    let mut most = [z[0]; 16];
    let (blocks, rest) = z.as_chunks::<16>();
    for z in blocks {
        for i in 0..16 {
            most[i] = most[i].max(z[i]);
        }
    }
    most.iter().chain(rest).fold(z[0], |m, v| m.max(*v))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "gpu")]
    #[test]
    fn layouts_cover_the_row() {
        for d in 1..=MAX_WIDTH {
            for layout in [Layout::new(d), Layout::quads(d)] {
                let (width, most) = if layout.quads { (4, 8) } else { (1, 32) };
                let columns = d / width;
                assert!(layout.lanes.is_power_of_two() && layout.lanes <= 256, "{d}");
                assert!(layout.lanes * layout.per >= columns, "{d}");
                assert!(
                    layout.lanes * (layout.per - 1) < columns && layout.per <= most,
                    "{d}"
                );
            }
        }
    }

    #[test]
    fn sizes_are_refused_with_what_is_allowed() {
        let message = |r: Result<(), UserError>| r.unwrap_err().to_string();
        assert!(message(check_rows("x", 0, 4)).contains("rows is 0: at least 1"));
        assert!(message(check_rows("x", 4, 9000)).contains("at most 8192"));
        assert!(message(check_rows("x", 1 << 20, 1 << 13)).contains("rows x d = 8589934592 elements"));
    }
}

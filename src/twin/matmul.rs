//! Matrix products of the CPU executor, through the `gemm` crate.

use super::Real;
use gemm::Parallelism;

/// A matrix in a slice: row `i`, column `j` is at `data[i * rs + j * cs]`.
#[derive(Clone, Copy)]
pub struct Mat<'a, R> {
    /// Elements; the matrix need not fill them.
    pub data: &'a [R],
    /// Row stride.
    pub rs: usize,
    /// Column stride.
    pub cs: usize,
}

impl<'a, R> Mat<'a, R> {
    /// Rows of `width` elements, one after the other.
    pub fn rows(data: &'a [R], width: usize) -> Self {
        Self {
            data,
            rs: width,
            cs: 1,
        }
    }

    /// The transpose, without moving anything.
    pub fn t(self) -> Self {
        Self {
            data: self.data,
            rs: self.cs,
            cs: self.rs,
        }
    }
}

/// Threads of a product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// The calling thread: inside a rayon loop over batch and heads.
    One,
    /// All of them: one large product.
    All,
}

/// `c = keep * c + scale * a b`, with `a` of `m` x `k`, `b` of `k` x `n`, `c` row-major with row stride `c_rs`.
/// `keep` = 0 ignores (also NaN) what is in `c`.
pub fn matmul<R: Real>(
    (m, n, k): (usize, usize, usize),
    a: Mat<'_, R>,
    b: Mat<'_, R>,
    c: &mut [R],
    c_rs: usize,
    keep: R,
    scale: R,
    threads: Threads,
) {
    if m == 0 || n == 0 {
        return;
    }
    let last = |rows: usize, cols: usize, x: &Mat<'_, R>| (rows - 1) * x.rs + (cols - 1) * x.cs;
    assert!(
        c.len() > (m - 1) * c_rs + n - 1,
        "c holds {} elements, {m} x {n} needed",
        c.len()
    );
    if k > 0 {
        assert!(
            a.data.len() > last(m, k, &a) && b.data.len() > last(k, n, &b),
            "an operand is too short"
        );
    }
    // A product needs about this much work before waking other threads pays.
    let parallel = threads == Threads::All && m * n * k > 1 << 18;
    let parallelism = if parallel {
        Parallelism::Rayon(0)
    } else {
        Parallelism::None
    };
    let stride = |s: usize| isize::try_from(s).expect("strides are below 2^63");
    // SAFETY: the asserts above bound every element that the strides reach in each slice; `c` is borrowed mutably
    // and cannot overlap `a` or `b`.
    #[allow(unsafe_code, reason = "gemm takes raw pointers; this is its one call site")]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            stride(c_rs),
            keep != R::ZERO,
            a.data.as_ptr(),
            stride(a.cs),
            stride(a.rs),
            b.data.as_ptr(),
            stride(b.cs),
            stride(b.rs),
            keep,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(m: usize, n: usize, k: usize, a: Mat<'_, f64>, b: Mat<'_, f64>) -> Vec<f64> {
        let mut c = vec![0.0; m * n];
        for i in 0..m {
            for j in 0..n {
                for l in 0..k {
                    c[i * n + j] += a.data[i * a.rs + l * a.cs] * b.data[l * b.rs + j * b.cs];
                }
            }
        }
        c
    }

    #[test]
    fn products_match_plain_loops_in_every_layout() {
        for (m, n, k) in [(1, 1, 1), (3, 5, 7), (64, 65, 66), (200, 100, 150)] {
            let a: Vec<f64> = (0..m * k).map(|i| (i as f64 * 0.37).sin()).collect();
            let b: Vec<f64> = (0..k * n).map(|i| (i as f64 * 0.91).cos()).collect();
            for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
                let a = if ta {
                    Mat::rows(&a, m).t()
                } else {
                    Mat::rows(&a, k)
                };
                let b = if tb {
                    Mat::rows(&b, k).t()
                } else {
                    Mat::rows(&b, n)
                };
                let want = plain(m, n, k, a, b);
                for (threads, keep) in [(Threads::One, 0.0), (Threads::All, 0.5)] {
                    let start = if keep == 0.0 { f64::NAN } else { 2.0 };
                    let mut c = vec![start; m * n];
                    matmul((m, n, k), a, b, &mut c, n, keep, 3.0, threads);
                    for (got, want) in c.iter().zip(&want) {
                        let want = 3.0 * want + if keep == 0.0 { 0.0 } else { 1.0 };
                        assert!((got - want).abs() < 1e-12 * k as f64, "{m}x{n}x{k}: {got} {want}");
                    }
                }
            }
        }
    }
}

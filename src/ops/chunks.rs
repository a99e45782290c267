//! What the matrix-state recurrences share: limits of their sizes, where the rows of a chunk are, its decay factors; with
//! `gpu`, `cases` and `tests` the same for their kernels, hostile cases and oracles.

pub(crate) mod cases;
pub(crate) mod channel;
mod decay;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
#[cfg(feature = "gpu")]
pub(crate) mod gpu_channel;
#[cfg(feature = "gpu")]
pub(crate) mod half;
#[cfg(test)]
pub(crate) mod matrix;
#[cfg(test)]
pub(crate) mod tests;

pub use self::decay::Decay;

use crate::error::UserError;
use crate::port::Pass;
use crate::twin::matmul::{Mat, Threads, matmul};
use crate::twin::{Real, vectorize};

/// Largest key and value width of a head.
const MAX_WIDTH: usize = 256;

/// Columns of the kernels' tiles.
pub(crate) const TILE: usize = 64;

/// Workgroups that WebGPU allows in one dimension of a grid.
pub(crate) const MAX_GRID: usize = 65_535;

/// Log decays below this are this: exp gives 0 and sums stay finite.
const SMALLEST_LOG: f64 = -1e4;

/// A log decay that sums can take.
pub(crate) fn clamped<R: Real>(g: R) -> R {
    g.max(R::of(SMALLEST_LOG))
}

/// ln(1 - 2^(-5-h)), the fixed log decay of a head (Sun et al. 2023, section 2).
pub(crate) fn retention_log_decay(head: usize) -> f64 {
    (-(2f64.powf(-5.0 - head as f64))).ln_1p()
}

/// Sizes of a recurrence over chunks.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    /// Sequences.
    pub(crate) b: usize,
    /// Tokens of a sequence.
    pub(crate) t: usize,
    /// Heads.
    pub(crate) h: usize,
    /// Key width of a head.
    pub(crate) d_k: usize,
    /// Value width of a head.
    pub(crate) d_v: usize,
    /// C, rows of a chunk.
    pub(crate) chunk: usize,
    /// Tokens of a chunk.
    pub(crate) tokens: usize,
}

impl Sizes {
    /// Chunks of a sequence, the last one partly filled.
    pub(crate) fn chunks(self) -> usize {
        self.t.div_ceil(self.tokens)
    }

    /// Bytes of the gradients of the states at chunk boundaries, which a backward call writes and reads again.
    pub(crate) fn state_gradient_bytes(self, pass: Pass) -> f64 {
        match pass {
            Pass::Forward => 0.0,
            Pass::Backward => 8.0 * (self.b * self.h * self.chunks() * self.d_k * self.d_v) as f64,
        }
    }

    /// Refuses sizes that the kernels cannot have, and more than `most` chunks.
    pub(crate) fn check(self, op: &'static str, most: usize) -> Result<(), UserError> {
        let Self { b, t, h, chunk, .. } = self;
        let refuse = |reason: String| Err(UserError::Shape { op, reason });
        if b * t * h == 0 {
            return refuse(format!("B {b}, T {t}, H {h}: each must be at least 1"));
        }
        check_widths(op, self.d_k, self.d_v)?;
        if ![16, 32, 64].contains(&chunk) {
            return refuse(format!("chunk {chunk}: allowed: 16, 32, 64"));
        }
        let chunks = self.chunks();
        if b > MAX_GRID || h > MAX_GRID || chunks > most {
            return refuse(format!(
                "B {b}, H {h}, {chunks} chunks: at most {MAX_GRID}, {MAX_GRID} and {most}"
            ));
        }
        Ok(())
    }
}

/// Refuses heads that the kernels cannot hold.
pub(crate) fn check_widths(op: &'static str, d_k: usize, d_v: usize) -> Result<(), UserError> {
    if [d_k, d_v].iter().all(|d| (1..=MAX_WIDTH).contains(d)) {
        return Ok(());
    }
    let reason =
        format!("head widths d_k {d_k}, d_v {d_v}: each must be from 1 to {MAX_WIDTH}; use more heads");
    Err(UserError::Shape { op, reason })
}

/// One chunk of one head: where its rows are.
#[derive(Clone, Copy)]
pub(crate) struct Chunk {
    /// Its first row, in `[B,T,H]` or, for tensors without heads, in `[B,T]`.
    pub(crate) row: usize,
    /// Rows from one of them to the next: H or 1.
    pub(crate) stride: usize,
    /// Rows in it.
    pub(crate) n: usize,
}

impl Chunk {
    /// Rows `first` to `first + n` of head `head`, counted through all sequences, in `[B,t,h]`.
    pub(crate) fn new(head: usize, t: usize, h: usize, first: usize, n: usize) -> Self {
        Self {
            row: (head / h * t + first) * h + head % h,
            stride: h,
            n,
        }
    }

    /// Row `i` of it.
    pub(crate) fn row_at(self, i: usize) -> usize {
        self.row + i * self.stride
    }

    /// Its part of a tensor with rows of `d`.
    pub(crate) fn mat<R>(self, x: &[R], d: usize) -> Mat<'_, R> {
        Mat {
            data: &x[self.row * d..],
            rs: self.stride * d,
            cs: 1,
        }
    }

    /// Row `i` of its part.
    pub(crate) fn at<R>(self, x: &[R], d: usize, i: usize) -> &[R] {
        &x[self.row_at(i) * d..][..d]
    }
}

/// Decay factors of the first `n` tokens of a chunk of `c`, from their log decays: `decay_in` from the chunk's start to
/// each token, `decay_out` from each token to the end, `gam` `[c,c]` from token j to token i, 0 above the diagonal.
/// Exponents are built as sums, then all of them exponentiated.
pub(crate) fn decay_factors<R: Real>(
    n: usize,
    c: usize,
    log_decay: impl Fn(usize) -> R,
    decay_in: &mut [R],
    decay_out: &mut [R],
    gam: &mut [R],
) {
    vectorize(
        #[inline(always)]
        || {
            let mut sum = R::ZERO;
            for i in 0..n {
                sum += log_decay(i);
                decay_in[i] = sum;
            }
            sum = R::ZERO;
            for i in (0..n).rev() {
                decay_out[i] = sum;
                sum += log_decay(i);
            }
            for i in 0..n {
                let (above, rest) = gam.split_at_mut(i * c);
                let row = &mut rest[..c];
                if i > 0 {
                    let g = log_decay(i);
                    let up = &above[(i - 1) * c..][..whole_lanes(i)];
                    row.iter_mut().zip(up).for_each(|(x, up)| *x = *up + g);
                }
                row[i] = R::ZERO;
            }
            exps(&mut decay_in[..n]);
            exps(&mut decay_out[..n]);
            for (i, row) in gam.chunks_exact_mut(c).take(n).enumerate() {
                exps(&mut row[..whole_lanes(i + 1)]);
                row[i + 1..].fill(R::ZERO);
            }
        },
    );
}

/// The first `n` columns of a row of C, and as many more as make loops over them whole: what these hold does not matter.
#[inline(always)]
pub(crate) fn whole_lanes(n: usize) -> usize {
    n.next_multiple_of(8)
}

/// Exponentials in place.
#[inline(always)]
pub(crate) fn exps<R: Real>(x: &mut [R]) {
    x.iter_mut().for_each(|x| *x = x.exp());
}

/// Gradients of a chunk's log decays, which act at the first of `householder` rows of each token: those of row t are the
/// sum of `m` `[c,c]` over i >= t > j, of `inward` from t on and of `outward` before t, and `through`. No two of them cancel.
/// `columns` `[c]` is work space.
pub(crate) fn decay_sums<R: Real>(
    c: usize,
    householder: usize,
    m: &[R],
    inward: impl Fn(usize) -> R,
    outward: impl Fn(usize) -> R,
    through: R,
    columns: &mut [R],
    grad_g: &mut [&mut [R]],
) {
    let n = grad_g.len() * householder;
    vectorize(
        #[inline(always)]
        || {
            let mut sum = R::ZERO;
            columns.fill(R::ZERO);
            for t in (0..n).rev() {
                sum += inward(t);
                let columns = &mut columns[..t];
                columns
                    .iter_mut()
                    .zip(&m[t * c..])
                    .for_each(|(sum, m)| *sum += *m);
                if t.is_multiple_of(householder) {
                    grad_g[t / householder][0] = columns.iter().copied().sum::<R>() + sum + through;
                }
            }
            sum = R::ZERO;
            for t in 0..n {
                if t.is_multiple_of(householder) {
                    grad_g[t / householder][0] += sum;
                }
                sum += outward(t);
            }
        },
    );
}

/// `c = keep c + a b` on the calling thread.
pub(crate) fn product<R: Real>(
    size: (usize, usize, usize),
    a: Mat<'_, R>,
    b: Mat<'_, R>,
    c: &mut [R],
    c_rs: usize,
    keep: R,
) {
    matmul(size, a, b, c, c_rs, keep, R::ONE, Threads::One);
}

/// `y[i] = factor[i] x[i]`, rows of width `d`.
#[inline(always)]
pub(crate) fn scale_rows<R: Real>(y: &mut [R], x: &[R], factor: &[R], d: usize) {
    for ((y, x), factor) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(factor) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = *factor * *x);
    }
}

/// Sum of products, in f64 whatever the twin's type: for sums over whole states whose terms cancel. Eight running sums, so that
/// the loop vectorises.
#[inline(always)]
pub(crate) fn dot_f64<R: Real>(a: &[R], b: &[R]) -> R {
    debug_assert_eq!(a.len(), b.len());
    let mut sums = [0.0; 8];
    let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..8 {
            sums[i] += a[i].f64() * b[i].f64();
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(rest_a).zip(rest_b) {
        *sum += a.f64() * b.f64();
    }
    R::of(sums.iter().sum())
}

/// The rows of a `[B,T,H,d]` tensor, by (b, h), in the order of time.
pub(crate) fn head_rows<R>(x: &mut [R], d: usize, t: usize, h: usize) -> Vec<Vec<&mut [R]>> {
    let heads = x.len() / (t * d);
    let mut rows: Vec<Vec<&mut [R]>> = (0..heads).map(|_| Vec::with_capacity(t)).collect();
    for (i, row) in x.chunks_mut(d).enumerate() {
        rows[i / (t * h) * h + i % h].push(row);
    }
    rows
}

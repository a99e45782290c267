use super::{ShortConv, WIDTH};
use crate::ops::reduce::{Pieces, add_partials, wanted_or};
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices, vectorize};
use rayon::prelude::*;

/// Channels that are in registers at once.
const LANES: usize = 16;

/// `$body` for the channels in blocks of [`LANES`], then for each that is left; `$lanes` says how many.
macro_rules! by_blocks {
    ($n:expr, $c:ident, $lanes:ident => $body:block) => {{
        let whole = $n / LANES * LANES;
        for $c in (0..whole).step_by(LANES) {
            const $lanes: usize = LANES;
            $body
        }
        for $c in whole..$n {
            const $lanes: usize = 1;
            $body
        }
    }};
}

/// `L` neighbours from `at` on.
#[inline(always)]
fn lanes<R: Real, const L: usize>(x: &[R], at: usize) -> [R; L] {
    let mut y = [R::ZERO; L];
    y.copy_from_slice(&x[at..at + L]);
    y
}

/// `y += w x` by lanes.
#[inline(always)]
fn add_product<R: Real, const L: usize>(y: &mut [R; L], w: &[R; L], x: &[R; L]) {
    for l in 0..L {
        y[l] += w[l] * x[l];
    }
}

/// Rows of `[B T, channels]` by tap.
type Rows<'a, R> = [&'a [R]; WIDTH];

/// What the filters make of the rows, channels from `c` on.
#[inline(always)]
fn filtered<R: Real, const L: usize>(
    start: [R; L],
    taps: &Rows<'_, R>,
    rows: &Rows<'_, R>,
    c: usize,
) -> [R; L] {
    let mut sum = start;
    for (w, x) in taps.iter().zip(rows) {
        add_product(&mut sum, &lanes(w, c), &lanes(x, c));
    }
    sum
}

impl ShortConv {
    /// The filters as `[4, channels]`, so that those of neighbours lie side by side.
    fn taps<R: Real>(&self, w: &[R]) -> Vec<R> {
        let mut taps = vec![R::ZERO; WIDTH * self.channels];
        for (c, w) in w.chunks(WIDTH).enumerate() {
            for j in 0..WIDTH {
                taps[j * self.channels + c] = w[j];
            }
        }
        taps
    }

    /// Row `row` of a matrix of as many columns as there are channels.
    #[inline(always)]
    fn row<'a, R>(&self, x: &'a [R], row: usize) -> &'a [R] {
        &x[row * self.channels..][..self.channels]
    }

    /// The inputs that step `row` = b T + t sees, `zeros` before the start of the sequence.
    #[inline(always)]
    fn seen<'a, R>(&self, x: &'a [R], row: usize, zeros: &'a [R]) -> Rows<'a, R> {
        let t = row % self.t;
        std::array::from_fn(|j| match t + j + 1 < WIDTH {
            true => zeros,
            false => self.row(x, row + j + 1 - WIDTH),
        })
    }
}

impl CpuOp for ShortConv {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let x = io.read("x");
        let taps = self.taps(io.read("w"));
        let taps: Rows<'_, R> = std::array::from_fn(|j| self.row(&taps, j));
        let zeros = vec![R::ZERO; self.channels];
        let bias = if self.bias { io.read("b") } else { &zeros };
        let (n, per) = (self.channels, Pieces::new(self.b * self.t).rows);
        let pieces = io.write("y").par_chunks_mut(per * n).enumerate();
        pieces.for_each(|(piece, y)| {
            vectorize(
                #[inline(always)]
                || {
                    for (i, y) in y.chunks_exact_mut(n).enumerate() {
                        let rows = self.seen(x, piece * per + i, &zeros);
                        by_blocks!(n, c, L => {
                            let mut pre: [R; L] = filtered(lanes(bias, c), &taps, &rows, c);
                            for l in 0..L {
                                pre[l] = pre[l].silu();
                            }
                            y[c..c + L].copy_from_slice(&pre);
                        });
                    }
                },
            );
        });
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (x, grad_y) = (io.read("x"), io.grad("y"));
        let taps = self.taps(io.read("w"));
        let taps: Rows<'_, R> = std::array::from_fn(|j| self.row(&taps, j));
        let (n, rows) = (self.channels, self.b * self.t);
        let zeros = vec![R::ZERO; n];
        let bias = if self.bias { io.read("b") } else { &zeros };
        let pieces = Pieces::new(rows);
        let per = pieces.rows;
        let (mut grad_w, mut grad_b) = (pieces.partials(WIDTH * n), pieces.partials(n));
        let mut unread = Vec::new();
        let wanted_x = io.wanted("x");
        let is_wanted = wanted_x.is_some();
        // First the gradients of what silu saw, then, in their place, those of the inputs.
        let grad = wanted_or(wanted_x, &mut unread, x.len());
        let parts = grad.par_chunks_mut(per * n);
        let parts = parts.zip(grad_w.par_chunks_mut(WIDTH * n).zip(grad_b.par_chunks_mut(n)));
        parts.enumerate().for_each(|(piece, (grad, (grad_w, grad_b)))| {
            vectorize(
                #[inline(always)]
                || {
                    for (i, grad) in grad.chunks_exact_mut(n).enumerate() {
                        let row = piece * per + i;
                        let (rows, grad_y) = (self.seen(x, row, &zeros), self.row(grad_y, row));
                        by_blocks!(n, c, L => {
                            let pre: [R; L] = filtered(lanes(bias, c), &taps, &rows, c);
                            let (mut d, mut sum): ([R; L], [R; L]) = (lanes(grad_y, c), lanes(grad_b, c));
                            for l in 0..L {
                                d[l] *= pre[l].silu_slope();
                                sum[l] += d[l];
                            }
                            grad[c..c + L].copy_from_slice(&d);
                            grad_b[c..c + L].copy_from_slice(&sum);
                            for (j, x) in rows.iter().enumerate() {
                                let mut sum: [R; L] = lanes(grad_w, j * n + c);
                                add_product(&mut sum, &d, &lanes(x, c));
                                grad_w[j * n + c..][..L].copy_from_slice(&sum);
                            }
                        });
                    }
                },
            );
        });
        if is_wanted {
            // A piece needs the first rows of what follows, which is written over at the same time.
            let after: Vec<Vec<R>> = (per..rows)
                .step_by(per)
                .map(|row| grad[row * n..(row + WIDTH - 1).min(rows) * n].to_vec())
                .collect();
            let parts = grad.par_chunks_mut(per * n).enumerate();
            parts.for_each(|(piece, grad)| {
                let after = after.get(piece).map_or(&[][..], |rows| rows);
                let own = grad.len() / n;
                vectorize(
                    #[inline(always)]
                    || {
                        for i in 0..own {
                            let later = self.t - (piece * per + i) % self.t;
                            let (here, rest) = grad[i * n..].split_at_mut(n);
                            let ahead: [&[R]; WIDTH - 1] = std::array::from_fn(|j| match j + 1 < later {
                                true if i + j + 1 < own => self.row(rest, j),
                                true => self.row(after, i + j + 1 - own),
                                false => &zeros,
                            });
                            by_blocks!(n, c, L => {
                                let mut sum = [R::ZERO; L];
                                add_product(&mut sum, &lanes(taps[WIDTH - 1], c), &lanes(here, c));
                                for (j, d) in ahead.iter().enumerate() {
                                    add_product(&mut sum, &lanes(taps[WIDTH - 2 - j], c), &lanes(d, c));
                                }
                                here[c..c + L].copy_from_slice(&sum);
                            });
                        }
                    },
                );
            });
        }
        if let Some(sum) = io.sum("w") {
            let mut by_tap = vec![R::ZERO; WIDTH * n];
            add_partials(&mut by_tap, &grad_w);
            for (c, sum) in sum.chunks_mut(WIDTH).enumerate() {
                for j in 0..WIDTH {
                    sum[j] += by_tap[j * n + c];
                }
            }
        }
        if self.bias
            && let Some(sum) = io.sum("b")
        {
            add_partials(sum, &grad_b);
        }
    }
}

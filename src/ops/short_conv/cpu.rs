use super::{ShortConv, WIDTH};
use crate::ops::reduce::{Pieces, add_partials};
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

impl ShortConv {
    /// The filters as `[4, channels]`, so that loops over channels vectorise.
    fn taps<R: Real>(&self, w: &[R]) -> Vec<R> {
        let mut taps = vec![R::ZERO; WIDTH * self.channels];
        for (c, w) in w.chunks(WIDTH).enumerate() {
            for j in 0..WIDTH {
                taps[j * self.channels + c] = w[j];
            }
        }
        taps
    }

    /// The inputs (by tap) that step `row` = b T + t sees.
    fn seen(&self, row: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let t = row % self.t;
        (WIDTH - 1 - t.min(WIDTH - 1)..WIDTH).map(move |j| (j, row + j + 1 - WIDTH))
    }

    /// pre of one step.
    fn pre<R: Real>(&self, pre: &mut [R], row: usize, x: &[R], taps: &[R], bias: Option<&[R]>) {
        let n = self.channels;
        match bias {
            Some(b) => pre.copy_from_slice(b),
            None => pre.fill(R::ZERO),
        }
        for (j, from) in self.seen(row) {
            for ((pre, w), x) in pre.iter_mut().zip(&taps[j * n..][..n]).zip(&x[from * n..][..n]) {
                *pre += *w * *x;
            }
        }
    }
}

impl CpuOp for ShortConv {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let x = io.read("x");
        let taps = self.taps(io.read("w"));
        let bias = self.bias.then(|| io.read("b"));
        let (n, per) = (self.channels, Pieces::new(self.b * self.t).rows);
        io.write("y")
            .par_chunks_mut(per * n)
            .enumerate()
            .for_each(|(piece, y)| {
                for (i, y) in y.chunks_mut(n).enumerate() {
                    self.pre(y, piece * per + i, x, &taps, bias);
                    for y in y {
                        *y = y.silu();
                    }
                }
            });
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (x, grad_y) = (io.read("x"), io.grad("y"));
        let taps = self.taps(io.read("w"));
        let bias = self.bias.then(|| io.read("b"));
        let n = self.channels;
        let pieces = Pieces::new(self.b * self.t);
        let per = pieces.rows;
        let (mut grad_w, mut grad_b) = (pieces.partials(WIDTH * n), pieces.partials(n));
        let mut grad_pre = vec![R::ZERO; x.len()];
        let parts = grad_pre.par_chunks_mut(per * n);
        let parts = parts.zip(grad_w.par_chunks_mut(WIDTH * n).zip(grad_b.par_chunks_mut(n)));
        parts
            .enumerate()
            .for_each(|(piece, (grad_pre, (grad_w, grad_b)))| {
                for (i, grad_pre) in grad_pre.chunks_mut(n).enumerate() {
                    let row = piece * per + i;
                    let grad_y = &grad_y[row * n..][..n];
                    self.pre(grad_pre, row, x, &taps, bias);
                    for c in 0..n {
                        grad_pre[c] = grad_y[c] * grad_pre[c].silu_slope();
                        grad_b[c] += grad_pre[c];
                    }
                    for (j, from) in self.seen(row) {
                        let (grad_w, x) = (&mut grad_w[j * n..][..n], &x[from * n..][..n]);
                        for c in 0..n {
                            grad_w[c] += grad_pre[c] * x[c];
                        }
                    }
                }
            });
        if let Some((grad_x, _)) = io.wanted("x") {
            grad_x
                .par_chunks_mut(per * n)
                .enumerate()
                .for_each(|(piece, grad_x)| {
                    for (i, grad_x) in grad_x.chunks_mut(n).enumerate() {
                        let row = piece * per + i;
                        grad_x.fill(R::ZERO);
                        let later = (self.t - row % self.t).min(WIDTH);
                        for ahead in 0..later {
                            let w = &taps[(WIDTH - 1 - ahead) * n..][..n];
                            let grad_pre = &grad_pre[(row + ahead) * n..][..n];
                            for c in 0..n {
                                grad_x[c] += w[c] * grad_pre[c];
                            }
                        }
                    }
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

use super::{DecayGate, Form};
use crate::ops::reduce::{Pieces, add_partials, wanted_or};
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

impl DecayGate {
    /// y and both parameters.
    fn read<'a, R: Real>(&self, io: &Slices<'a, R>) -> [&'a [R]; 3] {
        let [first, second] = self.parameters();
        ["y", first, second].map(|name| io.read(name))
    }

    /// -exp(`A_log`), where there is one.
    fn rates<R: Real>(&self, first: &[R]) -> Vec<R> {
        match self.form {
            Form::Rate => first.iter().map(|a| -a.exp()).collect(),
            Form::Biased => Vec::new(),
        }
    }

    /// What write strength i of a row is sigma of.
    fn of_write<R: Real>(&self, y: R, bias: &[R], i: usize) -> R {
        match self.form {
            Form::Rate => y,
            Form::Biased => y + bias[i],
        }
    }
}

impl CpuOp for DecayGate {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let [y, first, second] = self.read(&io);
        let (h, writes, width) = (self.h, self.writes, self.width());
        let per = Pieces::new(self.rows).rows;
        let rate = self.rates(first);
        let pieces = io.write("g").par_chunks_mut(per * h);
        pieces.zip(y.par_chunks(per * width)).for_each(|(g, y)| {
            for (g, y) in g.chunks_mut(h).zip(y.chunks(width)) {
                for i in 0..h {
                    g[i] = match self.form {
                        Form::Rate => rate[i] * (y[i] + second[i]).softplus(),
                        Form::Biased => -(-(y[i] + first[i])).softplus(),
                    };
                }
            }
        });
        let Some(beta) = io.write_if("beta") else { return };
        let strongest = R::of(f64::from(self.strongest));
        let pieces = beta.par_chunks_mut(per * writes);
        pieces.zip(y.par_chunks(per * width)).for_each(|(beta, y)| {
            for (beta, y) in beta.chunks_mut(writes).zip(y.chunks(width)) {
                for (i, beta) in beta.iter_mut().enumerate() {
                    *beta = strongest * self.of_write(y[h + i], second, i).sigmoid();
                }
            }
        });
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let [y, first, second] = self.read(&io);
        let (h, writes, width) = (self.h, self.writes, self.width());
        let grad_g = io.grad("g");
        let grad_beta = if writes > 0 { io.grad("beta") } else { &[] };
        let strongest = R::of(f64::from(self.strongest));
        let pieces = Pieces::new(self.rows);
        let rate = self.rates(first);
        let (mut grad_first, mut grad_second) = (pieces.partials(h), pieces.partials(h));
        let mut unread = Vec::new();
        let parts = wanted_or(io.wanted("y"), &mut unread, y.len()).par_chunks_mut(pieces.rows * width);
        let parts = parts.zip(grad_first.par_chunks_mut(h).zip(grad_second.par_chunks_mut(h)));
        parts
            .enumerate()
            .for_each(|(piece, (grad_y, (grad_first, grad_second)))| {
                for (i, grad_y) in grad_y.chunks_mut(width).enumerate() {
                    let row = piece * pieces.rows + i;
                    let (y, grad_g) = (&y[row * width..][..width], &grad_g[row * h..][..h]);
                    for i in 0..h {
                        match self.form {
                            Form::Rate => {
                                let (here, d) = (y[i] + second[i], grad_g[i] * rate[i]);
                                grad_y[i] = d * here.sigmoid();
                                grad_first[i] += d * here.softplus();
                                grad_second[i] += grad_y[i];
                            }
                            Form::Biased => {
                                grad_y[i] = grad_g[i] * (-(y[i] + first[i])).sigmoid();
                                grad_first[i] += grad_y[i];
                            }
                        }
                    }
                    for (i, d) in grad_beta[row * writes..][..writes].iter().enumerate() {
                        let here = self.of_write(y[h + i], second, i);
                        grad_y[h + i] = *d * strongest * here.sigmoid() * (-here).sigmoid();
                        if self.form == Form::Biased {
                            grad_second[i] += grad_y[h + i];
                        }
                    }
                }
            });
        for (port, partials) in self.parameters().into_iter().zip([&grad_first, &grad_second]) {
            if let Some(sum) = io.sum(port) {
                add_partials(sum, partials);
            }
        }
    }
}

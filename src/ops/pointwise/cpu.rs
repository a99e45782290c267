use super::{Function, Pointwise};
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

/// Elements of a piece of work.
const PIECE: usize = 1 << 14;

/// f(x).
fn value<R: Real>(function: Function, x: R) -> R {
    match function {
        Function::Sigmoid => x.sigmoid(),
        Function::LogSigmoid => -(-x).softplus(),
        Function::Silu => x.silu(),
        Function::Complement => -x.exp_m1(),
        Function::Softplus => x.softplus(),
    }
}

/// f'(x).
fn slope<R: Real>(function: Function, x: R) -> R {
    match function {
        Function::Sigmoid => x.sigmoid() * (-x).sigmoid(),
        Function::LogSigmoid => (-x).sigmoid(),
        Function::Silu => x.silu_slope(),
        Function::Complement => -x.exp(),
        Function::Softplus => x.sigmoid(),
    }
}

impl CpuOp for Pointwise {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let [scale, offset] = [self.scale, self.offset].map(|x| R::of(f64::from(x)));
        let pieces = io.write("y").par_chunks_mut(PIECE);
        pieces.zip(io.read("x").par_chunks(PIECE)).for_each(|(y, x)| {
            for (y, x) in y.iter_mut().zip(x) {
                *y = offset + scale * value(self.function, *x);
            }
        });
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let scale = R::of(f64::from(self.scale));
        let (x, grad_y) = (io.read("x"), io.grad("y"));
        if let Some((grad_x, accumulate)) = io.wanted("x") {
            let read = grad_y.par_chunks(PIECE).zip(x.par_chunks(PIECE));
            grad_x
                .par_chunks_mut(PIECE)
                .zip(read)
                .for_each(|(grad_x, (grad_y, x))| {
                    for ((grad_x, grad_y), x) in grad_x.iter_mut().zip(grad_y).zip(x) {
                        let d = scale * *grad_y * slope(self.function, *x);
                        *grad_x = if accumulate { *grad_x + d } else { d };
                    }
                });
        }
    }
}

use super::{Function, Pointwise};
use crate::step::StepParams;
use crate::twin::CpuOp;
use crate::twin::{In, Out, Real};
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
        Function::Silu => x.d_silu(),
        Function::Complement => -x.exp(),
        Function::Softplus => x.sigmoid(),
    }
}

impl CpuOp for Pointwise {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        let [scale, offset] = [self.scale, self.offset].map(|x| R::of(f64::from(x)));
        let pieces = outs[0].real().par_chunks_mut(PIECE);
        pieces.zip(ins[0].real().par_chunks(PIECE)).for_each(|(y, x)| {
            for (y, x) in y.iter_mut().zip(x) {
                *y = offset + scale * value(self.function, *x);
            }
        });
    }

    fn cpu_bwd<R: Real>(
        &self,
        _step: &StepParams,
        ins: &[In<'_, R>],
        _outs: &[In<'_, R>],
        d_outs: &[In<'_, R>],
        d_ins: &mut [Out<'_, R>],
    ) {
        let scale = R::of(f64::from(self.scale));
        let (x, dy) = (ins[0].real(), d_outs[0].real());
        if let Some((dx, accumulate)) = d_ins[0].wanted() {
            let read = dy.par_chunks(PIECE).zip(x.par_chunks(PIECE));
            dx.par_chunks_mut(PIECE).zip(read).for_each(|(dx, (dy, x))| {
                for ((dx, dy), x) in dx.iter_mut().zip(dy).zip(x) {
                    let d = scale * *dy * slope(self.function, *x);
                    *dx = if accumulate { *dx + d } else { d };
                }
            });
        }
    }
}

//! What an op's CPU twin is made of: number types, tensors as slices, matrix products.

pub mod matmul;
mod real;

pub use real::{Real, exp_f32};

use crate::port::OpDef;
use crate::step::StepParams;

/// A tensor that a twin reads.
#[derive(Clone, Copy)]
pub enum In<'a, R> {
    /// Not read by this call.
    None,
    /// Numbers.
    Real(&'a [R]),
    /// Symbols, labels, windows.
    Int(&'a [u32]),
}

impl<'a, R> In<'a, R> {
    /// The numbers.
    pub fn real(&self) -> &'a [R] {
        match self {
            Self::Real(x) => x,
            _ => panic!("the op's ports say that this is a real tensor"),
        }
    }

    /// The integers.
    pub fn int(&self) -> &'a [u32] {
        match self {
            Self::Int(x) => x,
            _ => panic!("the op's ports say that this is an integer tensor"),
        }
    }
}

/// A tensor that a twin writes.
pub enum Out<'a, R> {
    /// Nobody wants this one.
    None,
    /// Numbers; `accumulate`: add to what is there.
    Real {
        /// Elements.
        data: &'a mut [R],
        /// Add instead of replacing.
        accumulate: bool,
    },
    /// Integers.
    Int(&'a mut [u32]),
}

impl<R: Real> Out<'_, R> {
    /// The numbers, for outputs that are always wanted and always replaced.
    pub fn real(&mut self) -> &mut [R] {
        match self {
            Self::Real { data, .. } => data,
            _ => panic!("the op's ports say that this is a real tensor"),
        }
    }

    /// The integers.
    pub fn int(&mut self) -> &mut [u32] {
        match self {
            Self::Int(data) => data,
            _ => panic!("the op's ports say that this is an integer tensor"),
        }
    }

    /// The numbers and whether to add to them, if anybody wants them.
    pub fn wanted(&mut self) -> Option<(&mut [R], bool)> {
        match self {
            Self::Real { data, accumulate } => Some((data, *accumulate)),
            _ => None,
        }
    }

    /// The numbers, cleared unless they are to be added to; a twin then always adds.
    pub fn sum(&mut self) -> Option<&mut [R]> {
        let (data, accumulate) = self.wanted()?;
        if !accumulate {
            data.fill(R::ZERO);
        }
        Some(data)
    }
}

/// An op's CPU twin (`cpu.rs`): readable loops, generic over f32 (the executor) and f64 (the oracle).
pub trait CpuOp: OpDef {
    /// Forward.
    fn cpu_fwd<R: Real>(&self, step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]);

    /// Backward: `ins` and `outs` of the forward call (`In::None` where not in `backward_reads`), gradients of the
    /// outputs, and where the gradients of the inputs go (`Out::None` where nobody wants one).
    fn cpu_bwd<R: Real>(
        &self,
        step: &StepParams,
        ins: &[In<'_, R>],
        outs: &[In<'_, R>],
        grad_outs: &[In<'_, R>],
        grad_ins: &mut [Out<'_, R>],
    );
}

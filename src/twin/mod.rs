//! What an op's CPU twin is made of: number types, tensors as slices under their ports' names, matrix products, wide loops.

pub mod matmul;
mod real;
mod simd;

pub use real::{Real, exp_f32};
pub use simd::vectorize;

use crate::port::{OpDef, Operands, named};
use crate::step::StepParams;

/// A tensor that a twin reads.
#[derive(Debug, Clone, Copy)]
pub enum In<'a, R> {
    /// Numbers.
    Real(&'a [R]),
    /// Symbols, labels, windows.
    Int(&'a [u32]),
}

/// A tensor that a twin writes.
#[derive(Debug)]
pub enum Out<'a, R> {
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

impl<'a, R> Out<'a, R> {
    /// Numbers that are replaced.
    pub fn new(data: &'a mut [R]) -> Self {
        let accumulate = false;
        Self::Real { data, accumulate }
    }
}

/// The tensors of a call of a twin. What is written is handed out once.
///
/// # Panics
/// For names of no port, and for tensors of the other kind: an op knows its own.
pub type Slices<'a, R> = Operands<In<'a, R>, Out<'a, R>>;

impl<'a, R: Real> Slices<'a, R> {
    /// The numbers of an input, or of an output that backward reads.
    pub fn read(&self, name: &str) -> &'a [R] {
        self.read_if(name)
            .unwrap_or_else(|| panic!("no port that this call reads is called {name}"))
    }

    /// As [`Slices::read`], of a port that may not be there.
    pub fn read_if(&self, name: &str) -> Option<&'a [R]> {
        named(&self.reads, name).map(real)
    }

    /// The integers of an input.
    pub fn int(&self, name: &str) -> &'a [u32] {
        match named(&self.reads, name) {
            Some(In::Int(x)) => x,
            _ => panic!("no port with integers that this call reads is called {name}"),
        }
    }

    /// The gradient of an output.
    pub fn grad(&self, name: &str) -> &'a [R] {
        named(&self.grads, name).map_or_else(|| panic!("{name} has no gradient here"), real)
    }

    /// The numbers of an output.
    pub fn write(&mut self, name: &str) -> &'a mut [R] {
        self.write_if(name)
            .unwrap_or_else(|| panic!("no output with numbers is called {name}, or it was handed out"))
    }

    /// As [`Slices::write`], of a port that may not be there.
    pub fn write_if(&mut self, name: &str) -> Option<&'a mut [R]> {
        Some(self.target(name)?.0)
    }

    /// The numbers of an output and whether to add to them, of a port that may not be there.
    pub fn target(&mut self, name: &str) -> Option<(&'a mut [R], bool)> {
        take(&mut self.writes, name).and_then(real_out)
    }

    /// The integers of an output.
    pub fn write_int(&mut self, name: &str) -> &'a mut [u32] {
        match take(&mut self.writes, name) {
            Some(Out::Int(x)) => x,
            _ => panic!("no output with integers is called {name}, or it was handed out"),
        }
    }

    /// Where the gradient of an input goes and whether to add to it, if somebody wants it.
    pub fn wanted(&mut self, name: &str) -> Option<(&'a mut [R], bool)> {
        take(&mut self.wanted, name).and_then(real_out)
    }

    /// As [`Slices::sum`], of an output that adds up what others gave: a gradient that a forward call makes.
    pub fn added(&mut self, name: &str) -> &'a mut [R] {
        let (data, accumulate) = self
            .target(name)
            .unwrap_or_else(|| panic!("no output with numbers is called {name}, or it was handed out"));
        if !accumulate {
            data.fill(R::ZERO);
        }
        data
    }

    /// Where the gradient of an input goes, cleared unless it is to be added to; the twin then always adds.
    pub fn sum(&mut self, name: &str) -> Option<&'a mut [R]> {
        let (data, accumulate) = self.wanted(name)?;
        if !accumulate {
            data.fill(R::ZERO);
        }
        Some(data)
    }
}

fn real<'a, R>(x: &In<'a, R>) -> &'a [R] {
    match x {
        In::Real(x) => x,
        In::Int(_) => panic!("the op's ports say that this is a real tensor"),
    }
}

fn real_out<R>(x: Out<'_, R>) -> Option<(&mut [R], bool)> {
    match x {
        Out::Real { data, accumulate } => Some((data, accumulate)),
        Out::Int(_) => None,
    }
}

fn take<T>(all: &mut Vec<(&'static str, T)>, name: &str) -> Option<T> {
    let at = all.iter().position(|(n, _)| *n == name)?;
    Some(all.swap_remove(at).1)
}

/// An op's CPU twin (`cpu.rs`): readable loops, generic over f32 (the executor) and f64 (the oracle).
pub trait CpuOp: OpDef {
    /// Forward.
    fn cpu_fwd<R: Real>(&self, step: &StepParams, io: Slices<'_, R>);

    /// Backward: gradients of the inputs that somebody wants from those of the outputs.
    fn cpu_bwd<R: Real>(&self, _step: &StepParams, _io: Slices<'_, R>) {
        unreachable!("no input of {} has a gradient", Self::NAME);
    }
}

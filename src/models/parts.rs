//! The parts that blocks are made of.

use super::context::{BlockContext, one};
use crate::error::Result;
use crate::graph::{Graph, Init};
use crate::ops::fill::{Content, Fill};
use crate::ops::linear::Linear;
use crate::ops::pointwise::{Function, Pointwise};
use crate::ops::projections::Projections;
use crate::ops::rms_norm::{Kind, RmsNorm};
use crate::ops::short_conv::ShortConv;
use crate::ops::slice::Slice;
use crate::tensor::TensorId;

/// What [`BlockContext::projections`] made, by the first weight's name.
pub(super) struct Projected(Vec<(&'static str, TensorId)>);

impl Projected {
    fn find(&self, name: &str) -> Option<&TensorId> {
        let found = self.0.iter().find(|(of, _)| *of == name);
        found.map(|(_, y)| y)
    }

    pub(super) fn get(&self, name: &str) -> Option<TensorId> {
        self.find(name).copied()
    }
}

impl std::ops::Index<&str> for Projected {
    type Output = TensorId;

    fn index(&self, name: &str) -> &TensorId {
        self.find(name)
            .unwrap_or_else(|| panic!("{name} was not projected"))
    }
}

impl BlockContext<'_> {
    /// y = x W^T (+ b) of \[rows, inp\] with parameters `name.weight` (and `name.bias`), both U(+-inp^-1/2).
    ///
    /// # Errors
    /// [`crate::error::UserError::Shape`] for sizes that do not fit x.
    pub fn linear(
        &self,
        g: &mut Graph,
        name: &str,
        x: TensorId,
        [inp, out]: [usize; 2],
        bias: bool,
    ) -> Result<TensorId> {
        g.scoped(name, |g| linear(g, x, self.rows(), inp, out, bias))
    }

    /// y = x W^T for each of `parts`, which are names of weights and their numbers of outputs, U(+-inp^-1/2): of a part with several
    /// names columns of the first before those of the second.
    ///
    /// # Errors
    /// As [`BlockContext::linear`].
    pub(super) fn projections(
        &self,
        g: &mut Graph,
        x: TensorId,
        inp: usize,
        parts: &[Vec<(&'static str, usize)>],
    ) -> Result<Projected> {
        let flat = parts.iter().flatten();
        let flat: Vec<(String, usize)> = flat.map(|(name, out)| (format!("{name}.weight"), *out)).collect();
        let named: Vec<(&str, usize)> = flat.iter().map(|(name, out)| (name.as_str(), *out)).collect();
        let w = g.weights_as_one(&named, inp, Init::Uniform((inp as f64).powf(-0.5)));
        let op = Projections {
            rows: self.rows(),
            inp,
            outs: parts
                .iter()
                .map(|part| part.iter().map(|(_, out)| out).sum())
                .collect(),
        };
        let ys = g.call(op, &[x, w])?;
        Ok(Projected(parts.iter().map(|part| part[0].0).zip(ys).collect()))
    }

    /// Columns of y = x W^T, parameters as those of [`BlockContext::linear`], each part as a tensor of its own, so that nothing is
    /// copied.
    ///
    /// # Errors
    /// As [`BlockContext::linear`].
    pub(super) fn linear_parts(
        &self,
        g: &mut Graph,
        name: &str,
        x: TensorId,
        inp: usize,
        parts: &[usize],
    ) -> Result<Vec<TensorId>> {
        let (all, init) = (parts.iter().sum(), Init::Uniform((inp as f64).powf(-0.5)));
        let weight = g.scoped(name, |g| g.weight("weight", &[all, inp], init));
        let rows = self.rows();
        if parts.len() == 1 {
            let (out, bias) = (all, false);
            return g.call(Linear { rows, inp, out, bias }, &[x, weight]);
        }
        let outs = parts.to_vec();
        g.call(Projections { rows, inp, outs }, &[x, weight])
    }

    /// One output of a function of single elements, times `scale`.
    ///
    /// # Errors
    /// [`crate::error::UserError::Shape`] for too many elements.
    pub fn pointwise(&self, g: &mut Graph, function: Function, scale: f32, x: TensorId) -> Result<TensorId> {
        let numel = g.tensor(x).numel();
        one(
            g,
            Pointwise {
                numel,
                function,
                scale,
                offset: 0.0,
            },
            &[x],
        )
    }

    /// Columns `from..from + len` of rows of `width`.
    ///
    /// # Errors
    /// [`crate::error::UserError::Shape`] for columns that are not there.
    pub fn slice(
        &self,
        g: &mut Graph,
        x: TensorId,
        width: usize,
        from: usize,
        len: usize,
    ) -> Result<TensorId> {
        let slice = Slice {
            rows: self.rows(),
            width,
            from,
            len,
        };
        one(g, slice, &[x])
    }

    /// A value everywhere, \[numel\].
    ///
    /// # Errors
    /// [`crate::error::UserError::Shape`] for too many elements.
    pub fn constant(&self, g: &mut Graph, numel: usize, value: f32) -> Result<TensorId> {
        let content = Content::Constant(value);
        one(g, Fill { numel, content }, &[])
    }

    /// A causal convolution over four steps, each channel by itself, then silu; parameters `name.weight` (and
    /// `name.bias`). Without `model.conv`: silu alone.
    pub(super) fn conv(
        &self,
        g: &mut Graph,
        name: &str,
        x: TensorId,
        channels: usize,
        bias: bool,
    ) -> Result<TensorId> {
        Ok(self.conv_parts(g, name, &[(x, channels)], bias)?[0])
    }

    /// The same of channels that lie in several tensors, each but the last with a multiple of 64.
    pub(super) fn conv_parts(
        &self,
        g: &mut Graph,
        name: &str,
        parts: &[(TensorId, usize)],
        bias: bool,
    ) -> Result<Vec<TensorId>> {
        let each = parts.iter();
        if !self.gates().conv {
            return each
                .map(|&(x, _)| self.pointwise(g, Function::Silu, 1.0, x))
                .collect();
        }
        let all = parts.iter().map(|&(_, channels)| channels).sum();
        g.scoped(name, |g| {
            let mut params = vec![g.param("weight", &[all, 1, 4], Init::Uniform(0.5))];
            if bias {
                params.push(g.param("bias", &[all], Init::Uniform(0.5)));
            }
            let mut end = 0;
            each.map(|&(x, channels)| {
                end += channels;
                let mut ins = vec![x];
                for &param in &params {
                    ins.push(match channels == all {
                        true => param,
                        false => g
                            .weight_rows(param, end - channels, channels)
                            .expect("64 numbers begin a legal binding"),
                    });
                }
                let (b, t) = (self.b, self.t);
                let conv = ShortConv { b, t, channels, bias };
                self.over_time(g, conv, &ins)
            })
            .collect()
        })
    }

    /// The RMS norm of \[rows, d\] with a weight, and `gated` (before or after) by `gate` if there is one.
    pub(super) fn norm(
        &self,
        g: &mut Graph,
        weight: &str,
        [rows, d]: [usize; 2],
        x: TensorId,
        gate: Option<TensorId>,
        gated: Kind,
    ) -> Result<TensorId> {
        let weight = g.param(weight, &[d], Init::Constant(1.0));
        let norm = RmsNorm {
            rows,
            d,
            eps: 1e-5,
            kind: gate.map_or(Kind::Plain, |_| gated),
        };
        let ins: Vec<TensorId> = [x].into_iter().chain(gate).chain([weight]).collect();
        one(g, norm, &ins)
    }
}

/// y = x W^T (+ b) with parameters `weight` (and `bias`) of the current scope, both U(+-inp^-1/2).
pub(crate) fn linear(
    g: &mut Graph,
    x: TensorId,
    rows: usize,
    inp: usize,
    out: usize,
    bias: bool,
) -> Result<TensorId> {
    let r = (inp as f64).powf(-0.5);
    let mut ins = vec![x, g.weight("weight", &[out, inp], Init::Uniform(r))];
    if bias {
        ins.push(g.param("bias", &[out], Init::Uniform(r)));
    }
    one(g, Linear { rows, inp, out, bias }, &ins)
}

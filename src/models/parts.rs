//! The parts that blocks are made of.

use super::context::{BlockContext, one};
use crate::error::Result;
use crate::graph::{Graph, Init};
use crate::ops::fill::{Content, Fill};
use crate::ops::linear::Linear;
use crate::ops::pointwise::{Function, Pointwise};
use crate::ops::rms_norm::{Kind, RmsNorm};
use crate::ops::short_conv::ShortConv;
use crate::ops::slice::Slice;
use crate::tensor::TensorId;

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

    /// y = x W^T with the weights of these names and numbers of outputs, U(+-inp^-1/2), as one product: columns of the first
    /// before those of the second. `None`, and nothing is declared, where they would not lie side by side in the banks.
    ///
    /// # Errors
    /// As [`BlockContext::linear`].
    pub(super) fn linear_as_one(
        &self,
        g: &mut Graph,
        parts: &[(&str, usize)],
        x: TensorId,
        inp: usize,
    ) -> Result<Option<TensorId>> {
        let weight = g.weights_as_one(parts, inp, Init::Uniform((inp as f64).powf(-0.5)));
        let product = |w| {
            let (rows, out, bias) = (self.rows(), parts.iter().map(|(_, out)| out).sum(), false);
            one(g, Linear { rows, inp, out, bias }, &[x, w])
        };
        weight.map(product).transpose()
    }

    /// Columns of y = x W^T, parameters as those of [`BlockContext::linear`], each part as a tensor of its own: by products with
    /// rows of W, so that nothing is copied, or as slices of one product where rows do not begin at a legal binding offset.
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
        let (rows, all) = (self.rows(), parts.iter().sum());
        let mut end = 0;
        let columns: Vec<(usize, usize)> = parts
            .iter()
            .map(|&len| {
                end += len;
                (end - len, len)
            })
            .collect();
        g.scoped(name, |g| {
            let weight = g.weight("weight", &[all, inp], Init::Uniform((inp as f64).powf(-0.5)));
            let product = |g: &mut Graph, w: TensorId, out: usize| {
                let bias = false;
                one(g, Linear { rows, inp, out, bias }, &[x, w])
            };
            let each = columns.iter();
            let weights: Option<Vec<TensorId>> = each
                .map(|&(first, len)| g.weight_rows(weight, first, len))
                .collect();
            if let Some(weights) = weights {
                let each = weights.into_iter().zip(parts);
                return each.map(|(w, &len)| product(g, w, len)).collect();
            }
            let y = product(g, weight, all)?;
            let each = columns.iter();
            each.map(|&(first, len)| self.slice(g, y, all, first, len))
                .collect()
        })
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

    /// A projection `name_proj` from the width to `out` channels, then the convolution `name_conv1d`.
    pub(super) fn conved(&self, g: &mut Graph, name: &str, x: TensorId, out: usize) -> Result<TensorId> {
        let y = self.linear(g, &format!("{name}_proj"), x, [self.config.d_model, out], false)?;
        self.conv(g, &format!("{name}_conv1d"), y, out, false)
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

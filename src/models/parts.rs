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
use crate::port::OpDef;
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
    /// names columns of the first before those of the second. One call for as many as lie side by side in the banks, then one a
    /// part; none, and nothing is declared, for a part of several weights that do not.
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
        let rows = self.rows();
        let init = Init::Uniform((inp as f64).powf(-0.5));
        let out = |part: &[(&str, usize)]| part.iter().map(|(_, out)| out).sum();
        let weight = |g: &mut Graph, parts: &[Vec<(&str, usize)>]| {
            let flat = parts.iter().flatten();
            let flat: Vec<(String, usize)> =
                flat.map(|(name, out)| (format!("{name}.weight"), *out)).collect();
            let named: Vec<(&str, usize)> = flat.iter().map(|(name, out)| (name.as_str(), *out)).collect();
            g.weights_as_one(&named, inp, init)
        };
        let mut ys = Vec::new();
        for n in (2..=parts.len()).rev() {
            let outs = parts[..n].iter().map(|part| out(part)).collect();
            let op = Projections { rows, inp, outs };
            if op.validate().is_ok()
                && let Some(w) = weight(g, &parts[..n])
            {
                ys = g.call(op, &[x, w])?;
                break;
            }
        }
        let (together, apart) = parts.split_at(ys.len());
        let mut all = Projected(together.iter().map(|part| part[0].0).zip(ys).collect());
        for part in apart {
            if let Some(w) = weight(g, std::slice::from_ref(part)) {
                let (out, bias) = (out(part), false);
                let y = one(g, Linear { rows, inp, out, bias }, &[x, w])?;
                all.0.push((part[0].0, y));
            }
        }
        Ok(all)
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
                // Those whose gradients of x matrix units take as one sum: whole steps of 32, and one that may be less.
                let whole = parts.iter().take_while(|out| out.is_multiple_of(32)).count();
                let outs = parts[..parts.len().min(whole + 1)].to_vec();
                let op = Projections { rows, inp, outs };
                let mut ys = match op.validate() {
                    Ok(()) => {
                        let some = g.weight_rows(weight, 0, op.outs.iter().sum());
                        g.call(op, &[x, some.expect("the first row begins a legal binding")])?
                    }
                    Err(_) => Vec::new(),
                };
                for (&w, &len) in weights.iter().zip(parts).skip(ys.len()) {
                    ys.push(product(g, w, len)?);
                }
                return Ok(ys);
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

//! The ops that look at more than one time step, each in the form that the graph at hand needs: over whole sequences, or
//! one token at a time with a state that stays between runs (models.md 7).

use super::context::{BlockContext, one};
use crate::error::Result;
use crate::graph::{Graph, Output};
use crate::ops::OverTime;
use crate::ops::attention::Attention;
use crate::ops::attention_step::AttentionStep;
use crate::ops::gru::Gru;
use crate::ops::gru_step::GruStep;
use crate::ops::linear::Linear;
use crate::ops::rope::Rope;
use crate::ops::s4d_scan::S4dScan;
use crate::ops::s4d_step::S4dStep;
use crate::tensor::{Dtype, TensorId};

/// Each takes the op as it is over whole sequences, its inputs in port order, and returns its output.
///
/// # Errors
/// [`crate::error::UserError::Shape`] for sizes that the op does not have.
impl BlockContext<'_> {
    /// A recurrence or another op that looks at tokens before; or its step, with the same inputs.
    pub fn over_time<O: OverTime>(&self, g: &mut Graph, op: O, ins: &[TensorId]) -> Result<TensorId> {
        match self.decoding {
            None => one(g, op, ins),
            Some(_) => one(g, O::Step::from(&op), ins),
        }
    }

    /// Rotary positions.
    pub fn rope(&self, g: &mut Graph, op: Rope, x: TensorId) -> Result<TensorId> {
        match self.decoding {
            None => one(g, op, &[x]),
            Some(here) => one(g, Rope { position: true, ..op }, &[x, here.position]),
        }
    }

    /// Softmax attention: the keys and values so far are the state.
    pub fn attention(&self, g: &mut Graph, op: Attention, ins: &[TensorId]) -> Result<TensorId> {
        let Some(here) = self.decoding else {
            return one(g, op, ins);
        };
        let step = AttentionStep {
            b: op.b,
            h: op.h,
            d: op.d,
            rows: here.most,
            scale: op.scale,
            forgets: op.forget,
        };
        let mut all = ins.to_vec();
        all.insert(3, here.position);
        one(g, step, &all)
    }

    /// The scan of S4D.
    pub fn s4d_scan(&self, g: &mut Graph, op: S4dScan, ins: &[TensorId]) -> Result<TensorId> {
        let Some(here) = self.decoding else {
            return one(g, op, ins);
        };
        one(g, S4dStep::from(&op), &[ins, &[here.position]].concat())
    }

    /// The gated recurrent unit, from the projected input and the weight and bias of its recurrent side.
    pub fn gru(&self, g: &mut Graph, op: Gru, [xg, weight, bias]: [TensorId; 3]) -> Result<TensorId> {
        if self.decoding.is_none() {
            return one(g, op, &[xg, weight, bias]);
        }
        let Gru { b, d, .. } = op;
        let state = g.state("h", &[b, d]);
        let recurrent = Linear {
            rows: b,
            inp: d,
            out: 3 * d,
            bias: true,
        };
        let hg = one(g, recurrent, &[state, weight, bias])?;
        let h = g.activation("gru_step.h", &[b, d], Dtype::F32);
        let out = |tensor, accumulate| Output { tensor, accumulate };
        g.call_into(GruStep { b, d }, &[xg, hg], &[out(h, false), out(state, true)])?;
        Ok(h)
    }
}

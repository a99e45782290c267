//! The ops that look at more than one time step, each in the form that the graph at hand needs: over whole sequences, or
//! one token at a time with a state that stays between runs (models.md 7).

use super::context::{BlockContext, one};
use crate::error::Result;
use crate::graph::{Graph, Output};
use crate::ops::Op;
use crate::ops::attention::Attention;
use crate::ops::attention_step::AttentionStep;
use crate::ops::conv_step::ConvStep;
use crate::ops::delta_rule::DeltaRule;
use crate::ops::gru::Gru;
use crate::ops::gru_step::GruStep;
use crate::ops::linear::Linear;
use crate::ops::linear_attention::LinearAttention;
use crate::ops::mesa::Mesa;
use crate::ops::mesa_step::MesaStep;
use crate::ops::recurrence_step::RecurrenceStep;
use crate::ops::rope::Rope;
use crate::ops::s4d_scan::S4dScan;
use crate::ops::s4d_step::S4dStep;
use crate::ops::scan_step::ScanStep;
use crate::ops::selective_scan::SelectiveScan;
use crate::ops::short_conv::ShortConv;
use crate::tensor::{Dtype, TensorId};

impl BlockContext<'_> {
    /// The op over whole sequences, or its step, with the same inputs, in a graph that runs once a token.
    fn either(
        &self,
        g: &mut Graph,
        step: impl Into<Op>,
        whole: impl Into<Op>,
        ins: &[TensorId],
    ) -> Result<TensorId> {
        match self.decoding {
            None => one(g, whole, ins),
            Some(_) => one(g, step, ins),
        }
    }
}

/// Each takes the op as it is over whole sequences, its inputs in port order, and returns its output.
///
/// # Errors
/// [`crate::error::UserError::Shape`] for sizes that the op does not have.
impl BlockContext<'_> {
    /// A causal short convolution.
    pub fn short_conv(&self, g: &mut Graph, op: ShortConv, ins: &[TensorId]) -> Result<TensorId> {
        self.either(g, ConvStep::from(&op), op, ins)
    }

    /// Rotary positions.
    pub fn rope(&self, g: &mut Graph, op: Rope, x: TensorId) -> Result<TensorId> {
        match self.decoding {
            None => one(g, op, &[x]),
            Some(here) => one(g, Rope { position: true, ..op }, &[x, here.position]),
        }
    }

    /// The delta rule.
    pub fn delta_rule(&self, g: &mut Graph, op: DeltaRule, ins: &[TensorId]) -> Result<TensorId> {
        self.either(g, RecurrenceStep::from(&op), op, ins)
    }

    /// Additive linear attention.
    pub fn linear_attention(&self, g: &mut Graph, op: LinearAttention, ins: &[TensorId]) -> Result<TensorId> {
        self.either(g, RecurrenceStep::from(&op), op, ins)
    }

    /// Mamba's scan.
    pub fn selective_scan(&self, g: &mut Graph, op: SelectiveScan, ins: &[TensorId]) -> Result<TensorId> {
        self.either(g, ScanStep::from(&op), op, ins)
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

    /// The Mesa layer.
    pub fn mesa(&self, g: &mut Graph, op: Mesa, ins: &[TensorId]) -> Result<TensorId> {
        self.either(g, MesaStep::from(&op), op, ins)
    }
}

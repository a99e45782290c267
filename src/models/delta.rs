//! What the models of the delta family share (models.md 3.4, 3.6, 3.7): one recurrence that corrects its memory, fed
//! by convolved projections, with or without decay and output gate.

use super::{BlockContext, ModelConfig, conved, linear};
use crate::error::{Result, UserError};
use crate::graph::{Graph, Init};
use crate::ops::decay_gate::DecayGate;
use crate::ops::delta_rule::DeltaRule;
use crate::ops::l2_norm::L2Norm;
use crate::ops::rms_norm::{Kind, RmsNorm};
use crate::ops::sigmoid::Sigmoid;
use crate::tensor::TensorId;

/// Widest key head: values are twice as wide.
const MAX_KEY_WIDTH: usize = 128;

/// What tells one model of the family from another.
pub(super) struct Form {
    /// With a data-dependent decay a head (`A_log`, `dt_bias`, `a_proj`) and a swish gate after the output norm
    /// (`g_proj`).
    pub(super) gated: bool,
    /// n, steps a token: keys, values and write strengths have n times the channels, ordered (step, head, channel).
    pub(super) steps: usize,
    /// The write strength is between 0 and this.
    pub(super) strongest: f32,
}

/// Refuses heads that the recurrence cannot have, in the name of a model.
pub(super) fn validate(op: &'static str, config: &ModelConfig) -> Result<()> {
    let dk = config.head_dim();
    if (1..=MAX_KEY_WIDTH).contains(&dk) {
        return Ok(());
    }
    let reason = format!(
        "a head of {dk} channels (and values of {}): at most {MAX_KEY_WIDTH} ({}) are supported",
        2 * dk,
        2 * MAX_KEY_WIDTH
    );
    Err(UserError::Shape { op, reason }.into())
}

/// The block.
pub(super) fn build(g: &mut Graph, x: TensorId, c: &BlockContext<'_>, form: &Form) -> Result<TensorId> {
    let Form { gated, steps, .. } = *form;
    let (b, t, h, d) = (c.b, c.t, c.config.heads, c.config.d_model);
    let (rows, dk, dv) = (b * t, d / h, 2 * d / h);
    let decay = gated.then(|| {
        let a_log = g.param("A_log", &[h], Init::LogUniform(1e-4, 16.0));
        (a_log, g.param("dt_bias", &[h], Init::StepBias))
    });
    let q = conved(g, x, c, 'q', d)?;
    let k = conved(g, x, c, 'k', steps * d)?;
    let v = conved(g, x, c, 'v', steps * 2 * d)?;
    let unit = |g: &mut Graph, y: TensorId, steps: usize| {
        let norm = L2Norm {
            rows: rows * steps * h,
            d: dk,
            eps: 1e-6,
        };
        Ok::<_, crate::error::Error>(g.call(norm, &[y])?[0])
    };
    let (q, k) = (unit(g, q, 1)?, unit(g, k, steps)?);
    let decay = match decay {
        Some((a_log, dt_bias)) => {
            let y = g.scoped("a_proj", |g| linear(g, x, rows, d, h, false))?;
            Some(g.call(DecayGate { rows, h }, &[y, a_log, dt_bias])?[0])
        }
        None => None,
    };
    let beta = g.scoped("b_proj", |g| linear(g, x, rows, d, steps * h, false))?;
    let strength = Sigmoid {
        numel: rows * steps * h,
        scale: form.strongest,
    };
    let beta = g.call(strength, &[beta])?[0];
    let gate = match gated {
        true => Some(g.scoped("g_proj", |g| linear(g, x, rows, d, 2 * d, false))?),
        false => None,
    };
    let rule = DeltaRule {
        b,
        t,
        h,
        dk,
        dv,
        scale: (dk as f64).powf(-0.5) as f32,
        gated,
        steps,
        chunk: c.config.chunk,
    };
    let ins: Vec<TensorId> = [q, k, v, beta].into_iter().chain(decay).collect();
    let o = g.call(rule, &ins)?[0];
    let weight = g.param("o_norm.weight", &[dv], Init::Constant(1.0));
    let norm = RmsNorm {
        rows: rows * h,
        d: dv,
        eps: 1e-5,
        kind: if gated { Kind::GateAfter } else { Kind::Plain },
    };
    let ins: Vec<TensorId> = [o].into_iter().chain(gate).chain([weight]).collect();
    let o = g.call(norm, &ins)?[0];
    g.scoped("o_proj", |g| linear(g, o, rows, 2 * d, d, false))
}

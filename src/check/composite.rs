//! Golden entries that are several ops in a row.

use crate::cases::Golden;
use crate::error::Result;
use crate::ops::Decay;
use crate::ops::attention::Attention;
use crate::ops::decay_gate::DecayGate;
use crate::ops::delta_rule::{CHUNK, DeltaRule, EPS};
use crate::ops::fill::{Content, Fill};
use crate::ops::l2_norm::L2Norm;
use crate::ops::rms_norm::{Kind, RmsNorm};
use crate::ops::rope::Rope;
use crate::ops::scale::Scale;
use crate::tensor::TensorId;

/// Builds the ops of such an entry and returns their outputs under their names in the file, or `None` if no such entry has
/// the name.
pub(super) fn composite(g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    match g.name {
        "gated_delta_rule_rawqk" => Some(raw_delta_rule(g)),
        "channel_decay_gate" => Some(channel_decay_gate(g)),
        "attention_rope_qknorm" => Some(transformer_attention(g)),
        _ => None,
    }
}

fn raw_delta_rule(g: &mut Golden<'_>) -> Result<Vec<(&'static str, TensorId)>> {
    let [[b, t, h, d_k], [.., d_v]] = [g.sizes("k")?, g.sizes("v")?];
    let (mut q, mut k) = (g.input("q")?, g.input("k")?);
    let eps = g.attr("l2norm_eps").map_or(EPS, |eps| eps as f32);
    // The op's own norm adds that and nothing else.
    let unit = eps == EPS;
    if !unit {
        let norm = L2Norm {
            rows: b * t * h,
            d: d_k,
            eps,
            wide: false,
        };
        (q, k) = (g.graph.call(norm.clone(), &[q])?[0], g.graph.call(norm, &[k])?[0]);
    }
    let scale = g.scale(d_k);
    let op = DeltaRule {
        b,
        t,
        h,
        d_k,
        d_v,
        scale,
        decay: Decay::Scalar,
        householder: 1,
        chunk: CHUNK,
        unit,
    };
    let ins = [q, k, g.input("v")?, g.input("beta")?, g.input("g")?];
    Ok(vec![("o", g.graph.call(op, &ins)?[0])])
}

/// The gate of every channel with the rate of its head, as KDA makes it.
fn channel_decay_gate(g: &mut Golden<'_>) -> Result<Vec<(&'static str, TensorId)>> {
    let ([b, t, width], [h]) = (g.sizes("y")?, g.sizes("A_log")?);
    let ones = Fill {
        numel: width,
        content: Content::Constant(1.0),
    };
    let ones = g.graph.call(ones, &[])?[0];
    let [y, a_log, dt_bias] = ["y", "A_log", "dt_bias"].map(|name| g.input(name));
    let scale = Scale::f32(h, width / h.max(1));
    let rates = g.graph.call(scale, &[ones, a_log?])?[0];
    let gate = DecayGate::new(b * t, width);
    Ok(vec![("g", g.graph.call(gate, &[y?, rates, dt_bias?])?[0])])
}

fn transformer_attention(g: &mut Golden<'_>) -> Result<Vec<(&'static str, TensorId)>> {
    let [b, t, h, d] = g.sizes("q")?;
    let eps = g.attr("rms_eps_outside_sqrt").unwrap_or(1e-8) as f32;
    let base = g.attr("rope_base").unwrap_or(1000.0) as f32;
    let mut turned = |x: &str, w: &str| -> Result<TensorId> {
        let norm = RmsNorm {
            rows: b * t * h,
            d,
            eps,
            kind: Kind::OuterEps,
        };
        let ins = [g.input(x)?, g.input(w)?];
        let y = g.graph.call(norm, &ins)?[0];
        Ok(g.graph.call(
            Rope {
                b,
                t,
                h,
                d,
                base,
                direction: -1,
                position: false,
            },
            &[y],
        )?[0])
    };
    let (q, k) = (turned("q", "wq")?, turned("k", "wk")?);
    let scale = g.scale(d);
    let v = g.input("v")?;
    Ok(vec![(
        "o",
        g.graph.call(
            Attention {
                b,
                t,
                h,
                d,
                scale,
                forget: false,
            },
            &[q, k, v],
        )?[0],
    )])
}

//! One token of the paper's stack: what decoding runs once a token and layer.

use super::item::{Bench, Family};
use crate::ops::Decay;
use crate::ops::Op;
use crate::ops::attention_step::AttentionStep;
use crate::ops::conv_step::ConvStep;
use crate::ops::gru_step::GruStep;
use crate::ops::mesa_step::MesaStep;
use crate::ops::recurrence_step::RecurrenceStep;
use crate::ops::s4d_step::S4dStep;
use crate::ops::scan_step::ScanStep;

const SOURCE: &str = "a token of the paper's stack: batch 64, width 1024, after 400 steps";

/// Steps of `b` sequences with `h` heads and `t` tokens so far; heads 128 wide, values 256.
pub(super) fn householder(b: usize, t: usize, h: usize) -> Vec<Bench> {
    let (d_k, d_v) = (128, 256);
    let (d, scale) = (8 * d_k, (d_k as f32).powf(-0.5));
    let bench = |kind, shape: String, family, op: Op| Bench {
        kind,
        shape,
        source: SOURCE,
        family,
        op,
    };
    let recurrence = |kind, decay, delta, householder| {
        let op = RecurrenceStep {
            b,
            h,
            d_k,
            d_v,
            scale,
            decay,
            shared_qk: false,
            delta,
            beta: delta,
            householder,
        };
        let householder = if householder > 1 {
            format!(" n{householder}")
        } else {
            String::new()
        };
        let shape = format!("B{b} H{h} {d_k}x{d_v}{householder}");
        bench(kind, shape, Family::Recurrences, op.into())
    };
    let conv = ConvStep {
        b,
        channels: 2 * d,
        bias: false,
    };
    let scan = ScanStep {
        b,
        channels: 2 * d,
        states: 64,
        gated: true,
        tied: true,
        decays: true,
    };
    let attention = AttentionStep {
        b,
        h,
        d: d_k,
        rows: t,
        scale,
        forgets: false,
    };
    let mesa = MesaStep { b, h, d: d_k };
    let s4d = S4dStep {
        b,
        channels: d,
        states: 64,
    };
    let gru = GruStep { b, d };
    let channels = format!("B{b} {}", 2 * d);
    let cache = format!("B{b} T{t} H{h} {d_k}");
    vec![
        recurrence("gated_delta_rule_step", Decay::Scalar, true, 1),
        recurrence("gated_delta_product_step", Decay::Scalar, true, 4),
        recurrence("kda_step", Decay::Channel, true, 1),
        recurrence("gla_step", Decay::Channel, false, 1),
        bench(
            "mesa_step",
            format!("B{b} H{h} {d_k}"),
            Family::Recurrences,
            mesa.into(),
        ),
        bench(
            "scan_step",
            format!("{channels} 64"),
            Family::Recurrences,
            scan.into(),
        ),
        bench(
            "s4d_step",
            format!("B{b} {d} 64 complex"),
            Family::Recurrences,
            s4d.into(),
        ),
        bench("attention_step", cache, Family::Attention, attention.into()),
        bench("conv_step", channels, Family::Elementwise, conv.into()),
        bench("gru_step", format!("B{b} {d}"), Family::Elementwise, gru.into()),
    ]
}

//! What is timed: every op at the shapes that it has in a training step of the paper's stack, and the fixed suite of
//! recurrences.

use super::decode;
use super::item::{Bench, Family};
use crate::ops::Decay;
use crate::ops::adam::Adam;
use crate::ops::add::Add;
use crate::ops::attention::Attention;
use crate::ops::cross_entropy::CrossEntropy;
use crate::ops::decay_gate::DecayGate;
use crate::ops::delta_rule::{CHUNK, DeltaRule};
use crate::ops::dropout::Dropout;
use crate::ops::fill::{Content, Fill};
use crate::ops::gelu_dropout::GeluDropout;
use crate::ops::glu::Glu;
use crate::ops::grad_norm::GradNorm;
use crate::ops::gru::Gru;
use crate::ops::head_loss::HeadLoss;
use crate::ops::l2_norm::L2Norm;
use crate::ops::layer_norm::LayerNorm;
use crate::ops::linear::Linear;
use crate::ops::linear_attention::LinearAttention;
use crate::ops::mesa::Mesa;
use crate::ops::one_hot::{Noise, OneHot};
use crate::ops::pointwise::{Function, Pointwise};
use crate::ops::repeat::Repeat;
use crate::ops::rms_norm::{Kind, RmsNorm};
use crate::ops::rope::Rope;
use crate::ops::s4d_scan::S4dScan;
use crate::ops::scale::Scale as Factor;
use crate::ops::selective_scan::SelectiveScan;
use crate::ops::short_conv::ShortConv;
use crate::ops::skip::Skip;
use crate::ops::slice::Slice;
use crate::ops::spread::{Part, Spread};
use crate::ops::ssm_gate::SsmGate;
use crate::ops::swiglu::SwiGlu;
use crate::ops::window_accuracy::WindowAccuracy;
use crate::ops::{self, Op};

/// The paper's stack: a batch of 64 sequences of 400 steps, width 1024 in 8 heads.
const PAPER: Extents = Extents { b: 64, t: 400, h: 8 };
/// As many heads, a sequence ten times as long.
const LONG: Extents = Extents { b: 8, t: 4096, h: 8 };
/// Width of the paper's stack, of a key head and of a value head.
const D: usize = 1024;
const D_K: usize = 128;
const D_V: usize = 256;
/// Symbols and classes of the paper's first task.
const VOCAB: usize = 41;
const CLASSES: usize = 1601;
/// Parameters of the paper's Gated DeltaNet.
const PARAMS: usize = 69_100_000;

const STACK: &str = "the paper's stack: batch 64, 400 steps, width 1024";
const LONG_SOURCE: &str = "batch 8, 4096 steps";

/// By how much shapes are made smaller, a power of two: first the batch is halved, then the heads, then the time steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale(pub usize);

impl Scale {
    fn apply(self, full: Extents) -> Extents {
        let Extents { mut b, mut h, mut t } = full;
        for _ in 0..self.0.max(1).ilog2() {
            if let Some(n) = [&mut b, &mut h, &mut t].into_iter().find(|n| **n > 1) {
                *n /= 2;
            }
        }
        Extents { b, t, h }
    }

    fn divide(self, n: usize) -> usize {
        (n / self.0.max(1)).max(1)
    }
}

/// Sequences, time steps, heads.
#[derive(Debug, Clone, Copy)]
struct Extents {
    b: usize,
    t: usize,
    h: usize,
}

/// Makes an op of some extents.
type Make = fn(Extents) -> Op;

/// The suite `recurrence`: one line a recurrence, with its heads (or channels) and what each of them looks like.
/// Attention, plain and forgetting, is there as the yardstick.
const RECURRENCES: &[(&str, Family, usize, &str, Make)] = &[
    ("delta_rule", Family::Recurrences, 8, "128x256", |e| {
        delta_rule(e, Decay::None, 1)
    }),
    ("gated_delta_rule", Family::Recurrences, 8, "128x256", |e| {
        delta_rule(e, Decay::Scalar, 1)
    }),
    ("gated_delta_product", Family::Recurrences, 8, "128x256 n4", |e| {
        delta_rule(e, Decay::Scalar, 4)
    }),
    ("kda", Family::Recurrences, 8, "128x256", |e| {
        delta_rule(e, Decay::Channel, 1)
    }),
    ("gla", Family::Recurrences, 8, "128x256", |e| {
        linear_attention(e, Decay::Channel)
    }),
    ("simple_gla", Family::Recurrences, 8, "128x256", |e| {
        linear_attention(e, Decay::Scalar)
    }),
    ("retention", Family::Recurrences, 8, "128x256", |e| {
        linear_attention(e, Decay::Constant)
    }),
    (
        "ssd",
        Family::Recurrences,
        16,
        "128x128",
        |Extents { b, t, h }| {
            let (d_k, d_v, scale, chunk) = (128, 128, 1.0, CHUNK);
            LinearAttention {
                b,
                t,
                h,
                d_k,
                d_v,
                scale,
                decay: Decay::Scalar,
                shared_qk: true,
                chunk,
            }
            .into()
        },
    ),
    (
        "mesa",
        Family::Recurrences,
        8,
        "128x128",
        |Extents { b, t, h }| {
            let (d, chunk) = (D_K, CHUNK);
            Mesa { b, t, h, d, chunk }.into()
        },
    ),
    (
        "selective_scan",
        Family::Recurrences,
        2048,
        "64",
        |Extents { b, t, h }| {
            SelectiveScan {
                b,
                t,
                channels: h,
                states: 64,
                gated: true,
                tied: true,
                decays: true,
            }
            .into()
        },
    ),
    (
        "s4d_scan",
        Family::Recurrences,
        D,
        "64 complex",
        |Extents { b, t, h }| {
            S4dScan {
                b,
                t,
                channels: h,
                states: 64,
            }
            .into()
        },
    ),
    (
        "gru",
        Family::Recurrences,
        1,
        "1024",
        |Extents { b, t, .. }| Gru { b, t, d: D }.into(),
    ),
    ("attention", Family::Attention, 8, "128", |e| attention(e, false)),
    ("forgetting_attention", Family::Attention, 8, "128", |e| {
        attention(e, true)
    }),
];

fn delta_rule(Extents { b, t, h }: Extents, decay: Decay, householder: usize) -> Op {
    let scale = (D_K as f32).powf(-0.5);
    let (d_k, d_v, chunk) = (D_K, D_V, CHUNK);
    DeltaRule {
        b,
        t,
        h,
        d_k,
        d_v,
        scale,
        decay,
        householder,
        chunk,
    }
    .into()
}

fn linear_attention(Extents { b, t, h }: Extents, decay: Decay) -> Op {
    let (d_k, d_v, chunk, scale) = (D_K, D_V, CHUNK, (D_K as f32).powf(-0.5));
    LinearAttention {
        b,
        t,
        h,
        d_k,
        d_v,
        scale,
        decay,
        shared_qk: false,
        chunk,
    }
    .into()
}

fn attention(Extents { b, t, h }: Extents, forget: bool) -> Op {
    let scale = (D_K as f32).powf(-0.5);
    Attention {
        b,
        t,
        h,
        d: D_K,
        scale,
        forget,
    }
    .into()
}

/// The fixed suite of that name.
pub fn suite(name: &str, scale: Scale) -> Option<Vec<Bench>> {
    (name == "recurrence").then(|| recurrences(scale))
}

fn recurrences(scale: Scale) -> Vec<Bench> {
    let shapes = [(PAPER, STACK), (LONG, LONG_SOURCE)];
    let all = RECURRENCES
        .iter()
        .flat_map(|line| shapes.iter().map(move |shape| (line, shape)));
    all.map(|(&(kind, family, heads, width, make), &(full, source))| {
        let e @ Extents { b, t, h } = scale.apply(Extents { h: heads, ..full });
        let shape = format!("B{b} T{t} H{h} {width}");
        Bench {
            kind,
            shape,
            source,
            family,
            op: make(e),
        }
    })
    .collect()
}

/// Every bench, the suite included.
pub fn registry(scale: Scale) -> Vec<Bench> {
    let e = scale.apply(PAPER);
    let rows = scale.divide(PAPER.b * PAPER.t);
    let mut all = dense(scale, e, rows);
    all.extend(norms(rows));
    all.extend(recurrences(scale));
    all.extend(elementwise(scale, e, rows));
    let Extents { b, t, h } = e;
    all.extend(decode::householder(b, t, h));
    let rope = Rope {
        b,
        t,
        h,
        d: D_K,
        base: 1e4,
        direction: 1,
        position: false,
    };
    all.push(bench(
        "rope",
        format!("B{b} T{t} H{h} {D_K}"),
        Family::Attention,
        rope,
    ));
    all
}

/// What `--op` understands: every op, and the kinds that have names of their own.
pub fn names() -> Vec<&'static str> {
    let kinds = registry(Scale(1)).into_iter().map(|b| b.kind);
    let mut names: Vec<&str> = ops::NAMES.iter().copied().chain(kinds).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn bench(kind: &'static str, shape: String, family: Family, op: impl Into<Op>) -> Bench {
    Bench {
        kind,
        shape,
        source: STACK,
        family,
        op: op.into(),
    }
}

fn dense(scale: Scale, Extents { b, t, .. }: Extents, rows: usize) -> Vec<Bench> {
    let family = Family::Dense;
    let linear = |rows, inp, out, bias, source| {
        let op = Linear { rows, inp, out, bias };
        Bench {
            kind: "linear",
            shape: format!("{rows}x{inp}x{out}"),
            source,
            family,
            op: op.into(),
        }
    };
    let e = (t / 2).max(1);
    let sequences = format!("B{b} T{t} {D}x{CLASSES}");
    let logits = format!("{rows}x{CLASSES}");
    vec![
        linear(
            scale.divide(4096),
            4096,
            4096,
            false,
            "a square product, as GEMMs are compared",
        ),
        linear(rows, VOCAB, D, true, "the encoder of the paper's stack"),
        linear(
            rows,
            D,
            D,
            false,
            "a query or key projection of the paper's stack",
        ),
        linear(
            rows,
            D,
            2 * D,
            false,
            "a value or gate projection of the paper's stack",
        ),
        linear(rows, 2 * D, D, false, "an output projection of the paper's stack"),
        linear(
            rows,
            D,
            8 * D,
            true,
            "the feed-forward layer of the paper's Transformer",
        ),
        bench(
            "head_loss",
            sequences,
            family,
            HeadLoss {
                b,
                t,
                e,
                d: D,
                classes: CLASSES,
                train: true,
            },
        ),
        bench(
            "one_hot",
            format!("{}x{VOCAB}", b * t),
            family,
            OneHot {
                rows: b * t,
                vocab: VOCAB,
                noise: Noise::Philox { t, level: 0.2 },
            },
        ),
        bench(
            "spread",
            format!("{b}x{t}x{e}"),
            family,
            Spread {
                b,
                t,
                e,
                part: Part::Whole,
            },
        ),
        bench(
            "cross_entropy",
            logits,
            family,
            CrossEntropy {
                rows,
                classes: CLASSES,
            },
        ),
        bench(
            "window_accuracy",
            format!("B{b} T{t} E{e} {CLASSES}"),
            family,
            WindowAccuracy {
                b,
                t,
                e,
                classes: CLASSES,
            },
        ),
    ]
}

fn norms(rows: usize) -> Vec<Bench> {
    let family = Family::Norms;
    let heads = rows * PAPER.h;
    let rms = |kind: &'static str, rows, d, norm, source| {
        let op = RmsNorm {
            rows,
            d,
            eps: 1e-5,
            kind: norm,
        };
        Bench {
            kind,
            shape: format!("{rows}x{d}"),
            source,
            family,
            op: op.into(),
        }
    };
    vec![
        bench(
            "l2_norm",
            format!("{heads}x{D_K}"),
            family,
            L2Norm {
                rows: heads,
                d: D_K,
                eps: 1e-6,
            },
        ),
        bench(
            "layer_norm",
            format!("{rows}x{D}"),
            family,
            LayerNorm {
                rows,
                d: D,
                eps: 1e-5,
            },
        ),
        rms(
            "rms_norm",
            heads,
            D_V,
            Kind::Plain,
            "heads of the paper's recurrences",
        ),
        rms(
            "rms_norm_outer_eps",
            rows,
            D,
            Kind::OuterEps,
            "the paper's Transformer",
        ),
        rms(
            "rms_norm_gate_after",
            heads,
            D_V,
            Kind::GateAfter,
            "the paper's Gated DeltaNet",
        ),
        rms(
            "rms_norm_gate_before",
            rows,
            2 * D,
            Kind::GateBefore,
            "the paper's Mamba2",
        ),
    ]
}

fn elementwise(scale: Scale, Extents { b, t, .. }: Extents, rows: usize) -> Vec<Bench> {
    let family = Family::Elementwise;
    let h = PAPER.h;
    let n = scale.divide(PARAMS);
    let conv = |channels| {
        let op = ShortConv {
            b,
            t,
            channels,
            bias: false,
        };
        bench("short_conv", format!("B{b} T{t} {channels}"), family, op)
    };
    vec![
        conv(D),
        conv(2 * D),
        bench(
            "pointwise",
            format!("sigmoid {}", rows * h),
            family,
            Pointwise {
                numel: rows * h,
                function: Function::Sigmoid,
                scale: 1.0,
                offset: 0.0,
            },
        ),
        bench("decay_gate", format!("{rows}x{h}"), family, DecayGate { rows, h }),
        bench(
            "swiglu",
            format!("{rows}x{}", 4 * D),
            family,
            SwiGlu { rows, d: 4 * D },
        ),
        bench(
            "dropout",
            format!("{rows}x{D}"),
            family,
            Dropout {
                rows,
                d: D,
                p: 0.2,
                tag: 0,
            },
        ),
        bench(
            "gelu_dropout",
            format!("B{b} T{t} {D}"),
            family,
            GeluDropout {
                b,
                t,
                d: D,
                p: 0.2,
                tag: 0,
            },
        ),
        bench("glu", format!("{rows}x{D}"), family, Glu { rows, d: D }),
        bench(
            "pointwise",
            format!("log_sigmoid {}", rows * D),
            family,
            Pointwise {
                numel: rows * D,
                function: Function::LogSigmoid,
                scale: 0.0625,
                offset: 0.0,
            },
        ),
        bench(
            "scale",
            format!("{}x{}", rows * h, 2 * D_K),
            family,
            Factor {
                rows: rows * h,
                p: 2 * D_K,
            },
        ),
        bench("repeat", format!("{rows}x{D}"), family, Repeat { rows, d: D }),
        bench(
            "fill",
            format!("{}", rows * h),
            family,
            Fill {
                numel: rows * h,
                content: Content::Retention(h),
            },
        ),
        bench(
            "ssm_gate",
            format!("{rows}x16 128"),
            family,
            SsmGate {
                rows,
                h: 2 * h,
                p: D_K,
            },
        ),
        bench(
            "skip",
            format!("{rows}x16 128"),
            family,
            Skip {
                rows,
                h: 2 * h,
                p: D_K,
            },
        ),
        bench(
            "slice",
            format!("{rows}x{} of {}", 2 * D, 4 * D),
            family,
            Slice {
                rows,
                width: 4 * D,
                from: 2 * D,
                len: 2 * D,
            },
        ),
        bench("add", format!("{}", rows * D), family, Add { numel: rows * D }),
        bench("grad_norm", format!("{n}"), family, GradNorm { n }),
        bench("adam", format!("{n}"), family, Adam { n }),
    ]
}

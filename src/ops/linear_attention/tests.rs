use super::LinearAttention;
use super::cases::cases;
use super::reference::Head;
use crate::cases::{Case, Named, Values};
use crate::cpu::CpuRuntime;
use crate::ops::chunks::tests::{Oracle, every_chunk_matches};
use crate::ops::{Decay, Op, chunks};
use crate::port::OpDef;
use crate::testing::{self, op_tests};

op_tests! {
    grad_matches_finite_difference: tiny(),
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
    gpu kernels_fit_webgpu_default_limits: cases(),
}

fn tiny() -> Vec<Case> {
    chunks::tests::tiny(cases(), 2_000)
}

/// Rounding in f64: sums over some hundred terms, and over chunks.
const ROUNDING_F64: f64 = 1e-12;

#[test]
fn chunkwise_matches_token_by_token() {
    for case in &cases() {
        let Op::LinearAttention(own) = &case.op else {
            unreachable!("the cases are of this op")
        };
        let with_chunk = |chunk| LinearAttention { chunk, ..own.clone() }.into();
        let head = |all: &mut Oracle, x: &[Vec<f64>], grad_o: &[f64], b, h| {
            Head { op: own, x, b, h }.run(all, grad_o);
        };
        every_chunk_matches(case, (own.b, own.h), own.chunk, &with_chunk, head, ROUNDING_F64);
    }
}

/// The gradient of a rate is a sum over time of g d g, whose terms cancel: it is known to less than the rounding of a term.
#[test]
fn sums_of_decay_gradients_keep_their_digits() {
    let (mut squares, mut heads) = (0.0, 0.0f64);
    for case in cases().iter().filter(|case| !case.long) {
        let Op::LinearAttention(op) = &case.op else {
            unreachable!("the cases are of this op")
        };
        let (Decay::Scalar, Some(Values::Real(g))) = (op.decay, case.inputs.get(3)) else {
            continue;
        };
        let grad_g = |out: Named| out.into_iter().find(|(name, _)| name == "d g").unwrap().1;
        let want = grad_g(case.run(&mut CpuRuntime::<f64>::new()).unwrap());
        let got = grad_g(case.run(&mut CpuRuntime::<f32>::new()).unwrap());
        for head in 0..op.h {
            let of_head = |x: &[f64]| -> Vec<f64> {
                let terms = x.iter().zip(g).map(|(x, g)| x * f64::from(*g));
                terms.skip(head).step_by(op.h).collect()
            };
            let (want, got) = (of_head(&want), of_head(&got));
            let all: f64 = want.iter().map(|x| x.abs()).sum();
            if all > 0.0 {
                let off = got.iter().sum::<f64>() - want.iter().sum::<f64>();
                squares += (off / all).powi(2);
                heads += 1.0;
            }
        }
    }
    let off = (squares / heads).sqrt();
    assert!(off < f64::from(f32::EPSILON) / 2.0, "{off:e} over {heads} heads");
}

#[test]
fn gradients_accumulate() {
    let small = tiny();
    let picked = ["Scalar", "shared", "Channel"].map(|kind| {
        let found = small.iter().find(|case| case.name.contains(kind));
        found.expect("each kind has a small case").clone()
    });
    testing::gradients_accumulate(&picked);
}

#[test]
fn refuses_widths_and_kinds_it_cannot_have() {
    let op = LinearAttention {
        b: 1,
        t: 4,
        h: 2,
        d_k: 8,
        d_v: 8,
        scale: 1.0,
        decay: Decay::Channel,
        shared_qk: false,
        chunk: 64,
    };
    assert!(op.validate().is_ok());
    let refused = |op: LinearAttention| op.validate().unwrap_err().to_string();
    assert_eq!(
        refused(LinearAttention {
            d_v: 257,
            ..op.clone()
        }),
        "linear_attention: head widths d_k 8, d_v 257: each must be from 1 to 256; use more heads"
    );
    assert!(refused(LinearAttention { d_k: 0, ..op.clone() }).contains("d_k 0"));
    assert_eq!(
        refused(LinearAttention {
            chunk: 48,
            ..op.clone()
        }),
        "linear_attention: chunk 48: allowed: 16, 32, 64"
    );
    assert_eq!(
        refused(LinearAttention {
            shared_qk: true,
            ..op.clone()
        }),
        "linear_attention: q and k shared by the heads, decay by channel: allowed: one of the two"
    );
    assert!(refused(LinearAttention { t: 0, ..op.clone() }).contains("T 0"));
    assert!(
        refused(LinearAttention {
            b: 65_535,
            h: 65_535,
            ..op.clone()
        })
        .contains("B x H x chunks x d_k x d_v = 274869518400 elements: at most 2147483647")
    );
    assert_eq!(
        refused(LinearAttention {
            t: 16 * 4_096,
            chunk: 16,
            ..op
        }),
        "linear_attention: B 1, H 2, 4096 chunks: at most 65535, 65535 and 4095"
    );
}

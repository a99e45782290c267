use super::DeltaRule;
use super::cases::cases;
use super::reference::Head;
use crate::cases::Case;
use crate::ops::chunks::tests::{Oracle, every_chunk_matches};
use crate::ops::{Decay, Op, chunks};
use crate::port::OpDef;
use crate::testing::op_tests;

op_tests! {
    grad_matches_finite_difference: tiny(),
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
    gpu kernels_fit_webgpu_default_limits: cases(),
    gradients_accumulate: cases()[4..5],
}

fn tiny() -> Vec<Case> {
    chunks::tests::tiny(cases(), 2_000)
}

/// Rounding in f64: sums over some hundred terms, and over chunks.
const ROUNDING_F64: f64 = 1e-12;

#[test]
fn chunkwise_matches_token_by_token() {
    for case in &cases() {
        let Op::DeltaRule(own) = &case.op else {
            unreachable!("the cases are of this op")
        };
        let with_chunk = |chunk| DeltaRule { chunk, ..own.clone() }.into();
        let head = |all: &mut Oracle, x: &[Vec<f64>], grad_o: &[f64], b, h| {
            Head { op: own, x, b, h }.run(all, grad_o);
        };
        every_chunk_matches(case, (own.b, own.h), own.chunk, &with_chunk, head, ROUNDING_F64);
    }
}

#[test]
fn refuses_widths_and_chunks_it_cannot_have() {
    let op = DeltaRule {
        b: 1,
        t: 4,
        h: 2,
        d_k: 8,
        d_v: 8,
        scale: 1.0,
        decay: Decay::None,
        householder: 1,
        chunk: 64,
        unit: false,
    };
    assert!(op.validate().is_ok());
    let refused = |op: DeltaRule| op.validate().unwrap_err().to_string();
    assert_eq!(
        refused(DeltaRule {
            d_v: 257,
            ..op.clone()
        }),
        "delta_rule: head widths d_k 8, d_v 257: each must be from 1 to 256; use more heads"
    );
    assert!(refused(DeltaRule { d_k: 0, ..op.clone() }).contains("d_k 0"));
    assert_eq!(
        refused(DeltaRule {
            chunk: 48,
            ..op.clone()
        }),
        "delta_rule: chunk 48: allowed: 16, 32, 64"
    );
    assert!(refused(DeltaRule { t: 0, ..op.clone() }).contains("T 0"));
    for householder in [0, 9] {
        assert_eq!(
            refused(DeltaRule {
                householder,
                ..op.clone()
            }),
            format!("delta_rule: {householder} Householder factors a token: allowed: 1 to 8")
        );
    }
    assert_eq!(
        refused(DeltaRule {
            t: 16 * 16_384,
            chunk: 16,
            ..op
        }),
        "delta_rule: B 1, H 2, 16384 chunks: at most 65535, 65535 and 16383"
    );
}

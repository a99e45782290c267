use super::RecurrenceStep;
use super::cases::cases;
use crate::ops::Decay;
use crate::ops::{Op, delta_rule, linear_attention};
use crate::port::OpDef;
use crate::testing::{self, op_tests};

op_tests! {
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
    gpu kernels_fit_webgpu_default_limits: cases(),
}

#[test]
fn token_by_token_is_the_delta_rule() {
    for case in delta_rule::cases::cases() {
        let Op::DeltaRule(op) = &case.op else {
            unreachable!("the cases are of this op")
        };
        // A step takes rows as they are.
        if !op.unit {
            testing::steps_match_sequence(&case, RecurrenceStep::from(op));
        }
    }
}

#[test]
fn token_by_token_is_linear_attention() {
    for case in linear_attention::cases::cases() {
        let Op::LinearAttention(op) = &case.op else {
            unreachable!("the cases are of this op")
        };
        testing::steps_match_sequence(&case, RecurrenceStep::from(op));
    }
}

#[test]
fn refuses_widths_and_steps_it_cannot_have() {
    let op = RecurrenceStep {
        b: 1,
        h: 2,
        d_k: 8,
        d_v: 8,
        scale: 1.0,
        decay: Decay::Channel,
        shared_qk: false,
        delta: true,
        beta: true,
        householder: 1,
    };
    assert!(op.validate().is_ok());
    let refused = |op: RecurrenceStep| op.validate().unwrap_err().to_string();
    assert_eq!(
        refused(RecurrenceStep {
            d_v: 257,
            ..op.clone()
        }),
        "recurrence_step: head widths d_k 8, d_v 257: each must be from 1 to 256; use more heads"
    );
    assert_eq!(
        refused(RecurrenceStep {
            householder: 9,
            ..op.clone()
        }),
        "recurrence_step: 9 Householder factors a token: allowed: 1 to 8"
    );
    assert!(refused(RecurrenceStep { h: 0, ..op }).contains("H is 0"));
}

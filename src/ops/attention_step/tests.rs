use super::AttentionStep;
use super::cases::cases;
use crate::cases::{Case, Values};
use crate::cpu::CpuRuntime;
use crate::ops::{Op, attention};
use crate::port::OpDef;
use crate::testing::{self, op_tests};

op_tests! {
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
    gpu kernels_fit_webgpu_default_limits: cases(),
}

fn step_of(op: &attention::Attention) -> AttentionStep {
    AttentionStep {
        b: op.b,
        h: op.h,
        d: op.d,
        rows: op.t + 3,
        scale: op.scale,
        forgets: op.forget,
    }
}

#[test]
fn token_by_token_is_the_same() {
    for case in attention::cases::cases() {
        let Op::Attention(op) = &case.op else {
            unreachable!("the cases are of this op")
        };
        testing::steps_match_sequence(&case, step_of(op));
    }
}

/// Of a state that holds NaN everywhere, only what this token wrote is read at position 0.
#[test]
fn rows_after_the_position_are_not_read() {
    for mut case in cases().into_iter().filter(|case| case.name.contains(" 0 of ")) {
        let Op::AttentionStep(op) = &case.op else {
            unreachable!("the cases are of this op")
        };
        let states = case.inputs.len() - op.inputs().len();
        for state in case.inputs.iter_mut().rev().take(states) {
            if let Values::Real(x) = state {
                x.fill(f32::NAN);
            }
        }
        let Values::Real(v) = &case.inputs[2] else {
            unreachable!("v holds numbers")
        };
        let v: Vec<f64> = v.iter().map(|x| f64::from(*x)).collect();
        let first = |case: &Case, runtime: &mut dyn crate::runtime::Runtime| {
            case.run(runtime).unwrap().swap_remove(0)
        };
        assert_eq!(first(&case, &mut CpuRuntime::<f64>::new()).1, v);
        #[cfg(feature = "gpu")]
        testing::gpu::each_device(|device, runtime| assert_eq!(first(&case, runtime).1, v, "{device}"));
    }
}

#[test]
fn refuses_widths_and_sizes_it_cannot_have() {
    let op = AttentionStep {
        b: 1,
        h: 2,
        d: 8,
        rows: 4,
        scale: 1.0,
        forgets: false,
    };
    assert!(op.validate().is_ok());
    let refused = |op: AttentionStep| op.validate().unwrap_err().to_string();
    assert_eq!(
        refused(AttentionStep { d: 257, ..op.clone() }),
        "attention_step: D = 257: allowed: 1 to 256"
    );
    assert!(
        refused(AttentionStep {
            rows: 0,
            ..op.clone()
        })
        .contains("rows is 0")
    );
    assert!(
        refused(AttentionStep {
            scale: f32::NAN,
            ..op
        })
        .contains("finite")
    );
}

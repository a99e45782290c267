use super::Attention;
use super::cases::cases;
use crate::cases::Case;
use crate::cpu::CpuRuntime;
use crate::ops::Op;
use crate::port::OpDef;
use crate::testing::{self, op_tests};

op_tests! {
    grad_matches_finite_difference: cases(),
    f32_twin_matches_f64: cases(),
}

/// Kernels with decays and without: drivers on the CPU compile those of each for half a minute.
#[cfg(feature = "gpu")]
mod kernels_match_oracle {
    use super::*;

    fn test(forgets: bool) {
        let is_part = |case: &Case| matches!(&case.op, Op::Attention(op) if op.forget == forgets);
        let cases: Vec<Case> = cases().into_iter().filter(is_part).collect();
        testing::gpu::kernels_match_oracle(&cases);
    }

    #[test]
    fn of_attention() {
        test(false);
    }

    #[test]
    fn of_forgetting_attention() {
        test(true);
    }
}

#[test]
fn gradients_accumulate() {
    let forgets = |case: &Case| matches!(&case.op, Op::Attention(op) if op.forget);
    let few = cases()
        .into_iter()
        .filter(|c| forgets(c) || c.name == "B1 T63 H2 d16");
    testing::gradients_accumulate(&few.take(4).collect::<Vec<_>>());
}

#[test]
fn forgetting_nothing_is_attention() {
    let find = |name| {
        cases()
            .into_iter()
            .find(|c: &Case| c.name.ends_with(name))
            .unwrap()
    };
    let forgetful = find("nothing forgotten");
    let Op::Attention(op) = &forgetful.op else {
        unreachable!("the op's own cases")
    };
    let op = Attention {
        forget: false,
        ..op.clone()
    };
    let plain = Case::new("", op, forgetful.inputs[..3].to_vec());
    let run = |case: &Case| case.run(&mut CpuRuntime::<f64>::new()).unwrap();
    assert!(run(&forgetful)[..4] == run(&plain)[..]);
}

#[test]
fn refuses_sizes_without_a_kernel() {
    let op = |t, d, scale| Attention {
        b: 1,
        t,
        h: 1,
        d,
        scale,
        forget: false,
    };
    let refusal = op(3, 300, 1.0).validate().unwrap_err().to_string();
    assert_eq!(refusal, "attention: D = 300: allowed: 1 to 256");
    assert!(op(0, 16, 1.0).validate().is_err() && op(3, 0, 1.0).validate().is_err());
    assert!(op(3, 16, f32::NAN).validate().is_err());
    assert!(op(3, 253, 0.1).validate().is_ok());
    // Indices have 32 bits.
    let large = |b| Attention {
        b,
        h: 1,
        ..op(1 << 16, 32, 1.0)
    };
    assert!(large((1 << 11) - 1).validate().is_ok());
    let refusal = large(1 << 11).validate().unwrap_err().to_string();
    assert!(refusal.contains("4294967296: allowed: below 2^32"), "{refusal}");
    let long = |t| Attention {
        forget: true,
        ..op(t, 16, 1.0)
    };
    assert!(long(131_072).validate().is_ok());
    let refusal = long(131_073).validate().unwrap_err().to_string();
    assert_eq!(
        refusal,
        "attention: T = 131073 with decays: allowed: up to 131072"
    );
}

#[test]
fn rows_with_all_weight_on_one_key_give_queries_and_keys_no_gradient() {
    for name in ["B1 T1 H1 d4", "all forgotten"] {
        let case = cases().into_iter().find(|c| c.name.ends_with(name)).unwrap();
        let out = case.run(&mut CpuRuntime::<f32>::new()).unwrap();
        for gradient in ["d q", "d k"] {
            let (_, values) = out.iter().find(|(name, _)| name == gradient).unwrap();
            assert!(
                values.iter().all(|v| *v == 0.0),
                "{}: {gradient} {values:?}",
                case.name
            );
        }
    }
}

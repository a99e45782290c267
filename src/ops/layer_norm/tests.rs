use super::LayerNorm;
use super::cases::{cases, smooth, sums};
use crate::cases::{Case, Values};
use crate::cpu::CpuRuntime;
use crate::ops::Op;
use crate::ops::dropout::Dropout;
use crate::port::OpDef;
use crate::runtime::Runtime;
use crate::testing::op_tests;

op_tests! {
    grad_matches_finite_difference: [smooth(), sums()].concat(),
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
    gradients_accumulate: cases()[2..3],
}

/// A norm of a sum is the norm of what `dropout` gives, to the bit, and so are its gradients.
#[test]
fn a_sum_is_what_dropout_gives() {
    let check = |device: &str, runtime: &mut dyn Runtime| {
        for case in sums() {
            let [rows, d] = case.op.outputs()[0].shape[..] else {
                panic!("a matrix")
            };
            let whole = case.run(runtime).unwrap();
            let Op::LayerNorm(LayerNorm {
                eps,
                sum: Some(dropout),
                ..
            }) = case.op.clone()
            else {
                panic!("of a sum")
            };
            let Ok::<[Values; 4], _>([residual, z, w, b]) = case.inputs.clone().try_into() else {
                panic!("four inputs")
            };
            let step = case.step;
            let first = Case {
                step,
                ..Case::new("sum", dropout.clone(), vec![residual, z])
            };
            let x = first.run(runtime).unwrap().swap_remove(0).1;
            let x: Vec<f32> = x.into_iter().map(|x| x as f32).collect();
            let sum = None;
            let norm = Case::new("norm", LayerNorm { rows, d, eps, sum }, vec![x.into(), w, b]);
            let parts = norm.run(runtime).unwrap();
            let of = |all: &[(String, Vec<f64>)], name: &str| {
                let found = all.iter().find(|(n, _)| n == name);
                found.unwrap_or_else(|| panic!("{name} of {all:?}")).1.clone()
            };
            for (a, b) in [("y", "y"), ("d residual", "d x"), ("d w", "d w"), ("d b", "d b")] {
                assert!(of(&whole, a) == of(&parts, b), "{device}: {} {a}", case.name);
            }
        }
    };
    check("CPU f32", &mut CpuRuntime::<f32>::new());
    #[cfg(feature = "gpu")]
    crate::testing::gpu::each_device(check);
}

#[test]
fn a_sum_has_the_size_of_the_norm() {
    let dropout = |d| Dropout {
        rows: 4,
        d,
        p: 0.2,
        tag: 0,
    };
    let refused = |sum| {
        let op = LayerNorm {
            rows: 4,
            d: 8,
            eps: 1e-5,
            sum: Some(sum),
        };
        op.validate().map_err(|e| e.to_string())
    };
    assert!(refused(dropout(8)).is_ok());
    assert!(refused(dropout(9)).is_err_and(|e| e.contains("a sum of 4 x 9 for 4 x 8")));
    assert!(refused(Dropout { p: 1.0, ..dropout(8) }).is_err_and(|e| e.contains("0 <= p < 1")));
}

use super::cases::cases;
use crate::cpu::CpuRuntime;
use crate::testing::{self, op_tests};

op_tests! {
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
}

#[test]
fn grad_matches_finite_difference() {
    let small: Vec<_> = cases()
        .into_iter()
        .filter(|c| c.name != "large logits" && c.name != "all masked")
        .collect();
    testing::grad_matches_finite_difference(&small);
}

#[test]
fn masked_rows_have_no_loss_and_no_gradient() {
    let out = cases()[3].run(&mut CpuRuntime::<f64>::new()).unwrap();
    assert!(out.iter().all(|(_, v)| v.iter().all(|v| *v == 0.0)));
}

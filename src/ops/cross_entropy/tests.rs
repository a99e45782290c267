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

#[test]
fn a_loss_over_many_rows_keeps_its_digits() {
    let rows = 250_000;
    let total = super::cpu::total(&vec![4.64_f32; rows]);
    let want = f64::from(4.64_f32) * rows as f64;
    assert!((total / want - 1.0).abs() < 1e-12, "{total}, not {want}");
}

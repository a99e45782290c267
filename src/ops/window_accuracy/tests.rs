use super::cases::cases;
use crate::cpu::CpuRuntime;
use crate::testing::op_tests;

op_tests! {
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
}

#[test]
fn ties_go_to_the_lowest_class() {
    let out = cases()[4].run(&mut CpuRuntime::<f64>::new()).unwrap();
    assert_eq!(out[0].1, [0.0, 0.0, 0.0]);
}

#[test]
fn empty_windows_are_counted_apart() {
    let out = cases()[1].run(&mut CpuRuntime::<f64>::new()).unwrap();
    assert_eq!(out[1].1[1], 7.0);
    assert_eq!(out[1].1[3], 14.0);
}

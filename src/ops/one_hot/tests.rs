use super::cases::cases;
use crate::cpu::CpuRuntime;
use crate::testing::op_tests;

op_tests! {
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
}

#[test]
fn rows_are_one_hot_or_zero() {
    let out = cases()[2].run(&mut CpuRuntime::<f32>::new()).unwrap();
    for (r, row) in out[0].1.chunks(53).enumerate() {
        assert_eq!(row.iter().sum::<f64>(), if r % 2 == 0 { 1.0 } else { 0.0 });
    }
}

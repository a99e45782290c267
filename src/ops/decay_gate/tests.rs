use super::cases::cases;
use crate::testing::op_tests;

op_tests! {
    grad_matches_finite_difference: cases(),
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
    gradients_accumulate: cases()[1..3],
}

use super::cases::cases;
use crate::testing::op_tests;

op_tests! {
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
    gpu kernels_fit_webgpu_default_limits: cases(),
}

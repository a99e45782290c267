use super::cases::cases;
use crate::testing::{self, op_tests};

op_tests! {
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
    gradients_accumulate: cases()[2..4],
}

#[test]
fn grad_matches_finite_difference() {
    let is_smooth = |name: &str| !name.ends_with("huge") && !name.ends_with("saturated");
    let smooth: Vec<_> = cases().into_iter().filter(|c| is_smooth(&c.name)).collect();
    testing::grad_matches_finite_difference(&smooth);
}

use super::cases::cases;
use crate::testing;

#[test]
fn grad_matches_finite_difference() {
    let smooth: Vec<_> = cases()
        .into_iter()
        .filter(|c| !c.name.ends_with("huge"))
        .collect();
    testing::grad_matches_finite_difference(&smooth);
}

#[test]
fn f32_twin_matches_f64() {
    testing::f32_twin_matches_f64(&cases());
}

#[cfg(feature = "gpu")]
#[test]
fn kernels_match_oracle() {
    testing::gpu::matches_oracle(&cases());
}

#[test]
fn gradients_accumulate() {
    testing::gradients_accumulate(&cases()[2..3]);
}

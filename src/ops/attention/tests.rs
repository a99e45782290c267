use super::Attention;
use super::cases::cases;
use crate::ops::OpDef;
use crate::testing;

#[test]
fn grad_matches_finite_difference() {
    testing::grad_matches_finite_difference(&cases());
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

#[test]
fn refuses_sizes_without_a_kernel() {
    let op = |t, d, scale| Attention {
        b: 1,
        t,
        h: 1,
        d,
        scale,
    };
    let refusal = op(3, 300, 1.0).validate().unwrap_err().to_string();
    assert_eq!(refusal, "attention: D = 300: allowed: 1 to 256");
    assert!(op(0, 16, 1.0).validate().is_err() && op(3, 0, 1.0).validate().is_err());
    assert!(op(3, 16, f32::NAN).validate().is_err());
    assert!(op(3, 253, 0.1).validate().is_ok());
}

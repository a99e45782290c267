use super::cases::cases;
use crate::testing;

#[test]
fn f32_twin_matches_f64() {
    testing::f32_twin_matches_f64(&cases());
}

#[cfg(feature = "gpu")]
#[test]
fn kernels_match_oracle() {
    testing::gpu::matches_oracle(&cases());
}

#[cfg(feature = "gpu")]
#[test]
fn fits_webgpu_default_limits() {
    testing::gpu::fits_webgpu_default_limits(&cases());
}

use super::ConvStep;
use super::cases::cases;
use crate::ops::{Op, short_conv};
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
fn kernels_fit_webgpu_default_limits() {
    testing::gpu::fits_webgpu_default_limits(&cases());
}

#[test]
fn token_by_token_is_the_same() {
    for case in short_conv::cases::cases() {
        let Op::ShortConv(op) = &case.op else {
            unreachable!("the cases are of this op")
        };
        testing::steps_match_sequence(&case, ConvStep::from(op));
    }
}

use super::ConvStep;
use super::cases::cases;
use crate::ops::{Op, short_conv};
use crate::testing::{self, op_tests};

op_tests! {
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
    gpu kernels_fit_webgpu_default_limits: cases(),
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

use super::DecayGate;
use super::cases::cases;
use crate::port::OpDef;
use crate::testing::op_tests;

op_tests! {
    grad_matches_finite_difference: cases(),
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
    gradients_accumulate: cases()[1..3],
}

#[test]
fn with_biases_there_are_as_many_writes_as_decays() {
    let op = DecayGate {
        writes: 3,
        ..DecayGate::biased(5, 4)
    };
    let refused = op.validate().unwrap_err().to_string();
    assert_eq!(refused, "decay_gate: W is 3 with biases: as many as H, 4");
}

use super::Gru;
use super::cases::cases;
use crate::cases::Case;
use crate::ops::Op;
use crate::port::OpDef;
use crate::testing::{self, op_tests};

op_tests! {
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
    gpu kernels_fit_webgpu_default_limits: cases(),
    gradients_accumulate: cases()[1..5],
}

#[test]
fn grad_matches_finite_difference() {
    // With gates of 0 and 1 almost all of the gradients is 0, and the rest has steep curves.
    let small = |op: &Op| matches!(op, Op::Gru(g) if g.b * g.t * g.d <= 2000);
    let is_smooth = |c: &&Case| small(&c.op) && !c.name.ends_with("gates 0 and 1");
    let few: Vec<_> = cases().iter().filter(is_smooth).cloned().collect();
    assert!(few.len() > 12);
    testing::grad_matches_finite_difference(&few);
}

#[test]
fn refuses_what_overflows() {
    let op = |b, t, d| Gru { b, t, d }.validate();
    assert!(op(64, 4097, 1296).is_ok());
    assert!(op(1, 0, 4).unwrap_err().to_string().contains("t is 0"));
    assert!(op(1, 1, 30_000).unwrap_err().to_string().contains("elements"));
}

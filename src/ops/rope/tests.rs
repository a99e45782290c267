use super::Rope;
use super::cases::cases;
use crate::cases::Case;
use crate::cases::Fill;
use crate::port::OpDef;
use crate::testing::{self, op_tests};

op_tests! {
    grad_matches_finite_difference: cases(),
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
    gradients_accumulate: cases()[3..4],
}

fn op(d: usize, base: f32, direction: i32) -> Rope {
    Rope {
        b: 1,
        t: 3,
        h: 1,
        d,
        base,
        direction,
        position: false,
    }
}

#[test]
fn refuses_head_dim_7() {
    let refusal = op(7, 1000.0, 1).validate().unwrap_err().to_string();
    assert_eq!(
        refusal,
        "rope: D = 7: allowed: even, as channels turn in pairs, 2 to 256"
    );
    assert!(op(0, 1000.0, 1).validate().is_err() && op(258, 1000.0, 1).validate().is_err());
}

#[test]
fn refuses_other_directions_and_bases() {
    assert!(op(8, 1000.0, 0).validate().is_err());
    assert!(op(8, 1.0, 1).validate().is_err() && op(8, f32::NAN, 1).validate().is_err());
    assert!(op(8, 1000.0, -1).validate().is_ok());
    // Indices have 32 bits.
    let large = |b| Rope {
        b,
        t: 1 << 16,
        ..op(32, 1000.0, 1)
    };
    assert!(large((1 << 11) - 1).validate().is_ok());
    let refusal = large(1 << 11).validate().unwrap_err().to_string();
    assert!(refusal.contains("4294967296: allowed: below 2^32"), "{refusal}");
}

#[test]
fn token_by_token_is_the_same() {
    for (h, d, direction) in [(3, 8, -1), (1, 6, 1)] {
        let op = Rope {
            h,
            t: 70,
            ..op(d, 1000.0, direction)
        };
        let x = Fill::new(d as u64).normal(op.t * h * d);
        let step = Rope {
            t: 1,
            position: true,
            ..op.clone()
        };
        testing::steps_match_sequence(&Case::new(format!("d{d}"), op, vec![x.into()]), step);
    }
}

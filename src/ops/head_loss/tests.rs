use super::HeadLoss;
use super::cases::cases;
use crate::cases::{Case, Deviation, Values};
use crate::cpu::CpuRuntime;
use crate::testing::op_tests;

op_tests! {
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
}

/// Central difference of the loss along a direction in one input, against the gradient the op gives.
#[test]
fn gradients_match_finite_differences() {
    let case = &cases()[1];
    let oracle = case.run(&mut CpuRuntime::<f64>::new()).unwrap();
    let loss = |port: usize, element: usize, by: f32| -> f64 {
        let mut moved: Case = case.clone();
        let Values::Real(x) = &mut moved.inputs[port] else {
            unreachable!()
        };
        x[element] += by;
        moved.run(&mut CpuRuntime::<f64>::new()).unwrap()[1].1[0]
    };
    for (port, grad) in [(0, "grad_x"), (1, "grad_w"), (2, "grad_b")] {
        let (_, want) = oracle.iter().find(|(n, _)| n == grad).unwrap();
        for element in [0, 5, 13] {
            let h = 1.0 / 1024.0;
            let numeric = (loss(port, element, h) - loss(port, element, -h)) / (2.0 * f64::from(h));
            // h^2 times a third derivative of order 1/36 rows.
            assert!(
                (numeric - want[element]).abs() < 1e-6,
                "{grad} {element}: {numeric} {}",
                want[element]
            );
        }
    }
}

#[test]
fn pieces_cover_the_batch_and_are_aligned() {
    for (b, t) in [(64, 400), (64, 2200), (50, 401), (1, 7), (3, 20_200)] {
        let op = HeadLoss {
            b,
            t,
            e: 200,
            d: 81,
            classes: 1601,
            train: true,
            scaled: false,
        };
        let pieces = op.pieces(64);
        assert_eq!(pieces.iter().map(|p| p.1).sum::<usize>(), b);
        assert!(
            pieces
                .iter()
                .all(|(first, _)| first * t * 81 % 64 == 0 && first * t % 64 == 0),
            "{pieces:?}"
        );
    }
}

#[test]
fn deviation_sees_a_wrong_element() {
    let d = Deviation::new("x", &[1.0, 2.0], &[1.0, 2.1], 1e-6, 1e-5);
    assert!(!d.passed() && d.worst.0 == 1);
    assert!(!Deviation::new("x", &[f64::NAN], &[1.0], 1e-6, 1e-5).passed());
}

use super::GeluDropout;
use super::cases::cases;
use crate::cases::Case;
use crate::cpu::CpuRuntime;
use crate::port::OpDef;
use crate::runtime::Runtime;
use crate::step::StepParams;
use crate::testing::{self, op_tests};

op_tests! {
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
    gradients_accumulate: cases()[2..3],
}

#[test]
fn grad_matches_finite_difference() {
    let smooth = |c: &Case| !c.name.ends_with("huge");
    let cases: Vec<_> = cases().into_iter().filter(smooth).collect();
    testing::grad_matches_finite_difference(&cases);
}

fn devices(test: impl Fn(&str, &mut dyn Runtime)) {
    test("CPU f32", &mut CpuRuntime::<f32>::new());
    test("CPU f64", &mut CpuRuntime::<f64>::new());
    #[cfg(feature = "gpu")]
    testing::gpu::each_device(test);
}

/// What is kept of large numbers, whose gelu is the identity.
fn mask(runtime: &mut dyn Runtime, b: usize, first_row: u32) -> Vec<bool> {
    let op = GeluDropout {
        b,
        t: 5,
        d: 101,
        p: 0.2,
        tag: 3,
    };
    let step = StepParams::dropping(11, 5, first_row);
    let case = Case {
        step,
        ..Case::new("mask", op, vec![vec![100.0; b * 505].into()])
    };
    let y = case.run(runtime).unwrap().swap_remove(0).1;
    assert!(y.iter().all(|y| *y == 0.0 || (*y - 125.0).abs() < 1e-4));
    y.into_iter().map(|y| y != 0.0).collect()
}

#[test]
fn a_channel_is_kept_or_dropped_for_a_whole_sequence() {
    let want = mask(&mut CpuRuntime::<f64>::new(), 90, 0);
    let kept = want.iter().filter(|k| **k).count() as f64 / want.len() as f64;
    // Five standard deviations of 90 x 101 draws.
    assert!((kept - 0.8).abs() < 5.0 * (0.16f64 / 9090.0).sqrt(), "{kept}");
    for sequence in want.chunks(505) {
        assert!(sequence.chunks(101).all(|row| *row == sequence[..101]));
    }
    assert_ne!(want[..101], want[505..606]);
    devices(|device, runtime| {
        let halves = [mask(runtime, 45, 0), mask(runtime, 45, 45 * 5)].concat();
        assert!(halves == want, "{device}: micro-batches change the mask");
    });
}

#[test]
fn refuses_to_drop_everything() {
    let op = |p| GeluDropout {
        b: 1,
        t: 1,
        d: 1,
        p,
        tag: 0,
    };
    assert!(op(0.9).validate().is_ok());
    assert!(op(1.0).validate().unwrap_err().to_string().contains("0 <= p < 1"));
}

use super::Linear;
use super::cases::{LARGE_TIMES_SMALL, cases};
use crate::check::Case;
use crate::cpu::CpuRuntime;
use crate::ops::OpDef;
use crate::testing;

/// Without the large shapes, which differ only for the kernels, and without the case whose loss is so much larger than
/// its changes with x (1e4 next to 1e-4) that the difference of two losses in f64 is known to 1e-5 only.
#[test]
fn grad_matches_finite_difference() {
    let numel = |c: &Case| -> usize {
        let ports = c.op.inputs().into_iter().chain(c.op.outputs());
        ports.map(|p| p.shape.iter().product::<usize>()).sum()
    };
    let mut cases = cases();
    cases.retain(|c| numel(c) < 100_000 && c.name != LARGE_TIMES_SMALL);
    testing::grad_matches_finite_difference(&cases);
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
    testing::gradients_accumulate(&cases()[4..12]);
}

#[test]
fn fwd_is_x_times_w_transposed_plus_b() {
    let op = Linear {
        rows: 2,
        inp: 2,
        out: 3,
        bias: true,
    };
    let (x, w, b) = ([1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 0.0, 1.0, 5.0, -1.0], [0.5, 0.0, 10.0]);
    let inputs = vec![x.to_vec().into(), w.to_vec().into(), b.to_vec().into()];
    let got = Case::new("by hand", op, inputs)
        .run(&mut CpuRuntime::<f64>::new())
        .unwrap();
    assert_eq!(got[0].1, [1.5, 2.0, 13.0, 3.5, 4.0, 21.0]);
}

#[test]
fn refuses_sizes_that_leave_32_bits() {
    let op = |rows, inp, out| Linear {
        rows,
        inp,
        out,
        bias: false,
    };
    assert!(op(1 << 20, 4095, 4095).validate().is_ok());
    for bad in [op(0, 1, 1), op(1, 0, 1), op(1 << 20, 4096, 1), op(1 << 20, 1, 4096), op(1, 1 << 16, 1 << 16)] {
        let message = bad.validate().unwrap_err().to_string();
        assert!(message.contains("less than 2^32 elements"), "{message}");
    }
}

use super::Mesa;
use super::cases::cases;
use super::reference::Head;
use crate::cases::{Case, Deviation, TOLERANCE_F32, Values};
use crate::cpu::CpuRuntime;
use crate::ops::chunks::tests::{Oracle, every_chunk_matches};
use crate::ops::{Op, chunks};
use crate::port::OpDef;
use crate::runtime::Runtime;
#[cfg(feature = "gpu")]
use crate::testing;
use crate::testing::op_tests;

op_tests! {
    grad_matches_finite_difference: tiny(),
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
    gpu kernels_fit_webgpu_default_limits: cases(),
    gradients_accumulate: tiny()[2..3],
}

fn tiny() -> Vec<Case> {
    chunks::tests::tiny(cases(), 1_000)
}

/// Rounding in f64, times a condition number of up to some hundred.
const ROUNDING_F64: f64 = 1e-11;

#[test]
fn chunkwise_conjugate_gradients_match_token_by_token_cholesky() {
    for case in &cases() {
        let Op::Mesa(own) = &case.op else {
            unreachable!("the cases are of this op")
        };
        let with_chunk = |chunk| Mesa { chunk, ..own.clone() }.into();
        let head = |all: &mut Oracle, x: &[Vec<f64>], grad_o: &[f64], b, h| {
            let op = own;
            Head { op, x, b, h }.run(all, grad_o);
        };
        every_chunk_matches(case, (own.b, own.h), own.chunk, &with_chunk, head, ROUNDING_F64);
    }
}

/// Gradients late in training are small, and their squares no numbers in f32.
#[test]
fn tiny_right_sides_are_solved_like_others() {
    const TINY: f32 = 8.3e-25; // about 2^-80
    let case = &tiny()[2];
    let mut small = case.clone();
    let Values::Real(q) = &mut small.inputs[0] else {
        unreachable!("queries are numbers")
    };
    q.iter_mut().for_each(|x| *x *= TINY);
    let oracle = case.run(&mut CpuRuntime::<f64>::new()).unwrap();
    let check = |device: &str, runtime: &mut dyn Runtime| {
        let (name, mut o) = small.run(runtime).unwrap().swap_remove(0);
        o.iter_mut().for_each(|x| *x /= f64::from(TINY));
        let d = Deviation::new(&name, &o, &oracle[0].1, 0.0, TOLERANCE_F32);
        assert!(d.passed(), "{device}: {d:?}");
    };
    check("CPU f32", &mut CpuRuntime::<f32>::new());
    #[cfg(feature = "gpu")]
    testing::gpu::each_device(check);
}

#[test]
fn refuses_sizes_it_cannot_have() {
    let op = Mesa {
        b: 1,
        t: 4,
        h: 2,
        d: 8,
        chunk: 64,
    };
    assert!(op.validate().is_ok());
    let refused = |op: Mesa| op.validate().unwrap_err().to_string();
    assert_eq!(
        refused(Mesa { d: 257, ..op.clone() }),
        "mesa: head widths d_k 257, d_v 257: each must be from 1 to 256; use more heads"
    );
    assert_eq!(
        refused(Mesa {
            chunk: 48,
            ..op.clone()
        }),
        "mesa: chunk 48: allowed: 16, 32, 64"
    );
    assert!(refused(Mesa { t: 0, ..op.clone() }).contains("T 0"));
    assert!(
        refused(Mesa {
            b: 50_000,
            h: 4,
            ..op
        })
        .contains("C (4 D + C)")
    );
}

use super::Dropout;
use super::cases::cases;
use crate::cases::Case;
use crate::cpu::CpuRuntime;
use crate::error::UserError;
use crate::port::OpDef;
use crate::runtime::Runtime;
use crate::step::StepParams;
#[cfg(feature = "gpu")]
use crate::testing;
use crate::testing::op_tests;

op_tests! {
    grad_matches_finite_difference: cases(),
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
    gradients_accumulate: cases()[2..3],
}

/// Ones through dropout, nothing beneath: the mask, times 1 / (1 - p). Then the same of the gradient of ones.
fn mask(runtime: &mut dyn Runtime, op: Dropout, first_row: u32) -> Vec<f64> {
    let n = op.rows * op.d;
    let step = StepParams::dropping(11, 5, first_row);
    let case = Case {
        step,
        ..Case::new("mask", op, vec![vec![0.0; n].into(), vec![1.0; n].into()])
    };
    case.run(runtime).unwrap().swap_remove(0).1
}

fn devices(test: impl Fn(&str, &mut dyn Runtime)) {
    test("CPU f32", &mut CpuRuntime::<f32>::new());
    test("CPU f64", &mut CpuRuntime::<f64>::new());
    #[cfg(feature = "gpu")]
    testing::gpu::each_device(test);
}

#[test]
fn keeps_its_share_and_the_mean() {
    let op = Dropout {
        rows: 500,
        d: 202,
        p: 0.2,
        tag: 3,
    };
    devices(|device, runtime| {
        let y = mask(runtime, op.clone(), 0);
        let n = y.len() as f64;
        let kept = y.iter().filter(|y| **y != 0.0).count() as f64;
        // Five standard deviations of the binomial distribution.
        let far = 5.0 * (0.2 * 0.8 / n).sqrt();
        assert!((kept / n - 0.8).abs() < far, "{device}: kept {}", kept / n);
        let mean = y.iter().sum::<f64>() / n;
        assert!((mean - 1.0).abs() < far / 0.8, "{device}: mean {mean}");
        for column in 0..op.d {
            let kept = (0..op.rows).filter(|row| y[row * op.d + column] != 0.0).count();
            assert!(
                (340..460).contains(&kept),
                "{device}: column {column} kept {kept} of 500"
            );
        }
    });
}

#[test]
fn masks_have_the_same_bits_everywhere() {
    let op = Dropout {
        rows: 130,
        d: 81,
        p: 0.2,
        tag: 3,
    };
    let kept = |y: Vec<f64>| y.into_iter().map(|y| y != 0.0).collect::<Vec<bool>>();
    let want = kept(mask(&mut CpuRuntime::<f64>::new(), op.clone(), 640));
    devices(|device, runtime| {
        assert!(kept(mask(runtime, op.clone(), 640)) == want, "{device}");
    });
}

#[test]
fn micro_batches_do_not_change_the_mask() {
    let whole = Dropout {
        rows: 96,
        d: 61,
        p: 0.3,
        tag: 1,
    };
    devices(|device, runtime| {
        let want = mask(runtime, whole.clone(), 0);
        for parts in [2, 3] {
            let rows = 96 / parts;
            let part = Dropout {
                rows,
                ..whole.clone()
            };
            let got: Vec<f64> = (0..parts)
                .flat_map(|i| mask(runtime, part.clone(), (i * rows) as u32))
                .collect();
            assert!(got == want, "{device}: {parts} micro-batches");
        }
    });
}

#[test]
fn tags_seeds_and_steps_change_the_mask() {
    let op = |tag| Dropout {
        rows: 1,
        d: 4,
        p: 0.5,
        tag,
    };
    let step = |seed, step| StepParams::dropping(seed, step, 0);
    let bits = |op: Dropout, step: StepParams| -> Vec<bool> {
        (0..64).flat_map(|row| op.keeps(&step, row, 0)).collect()
    };
    let all = [
        bits(op(0), step(0, 0)),
        bits(op(1), step(0, 0)),
        bits(op(0), step(1, 0)),
        bits(op(0), step(0, 1)),
    ];
    for (i, a) in all.iter().enumerate() {
        for b in &all[..i] {
            let same = a.iter().zip(b).filter(|(a, b)| a == b).count();
            assert!((80..176).contains(&same), "{same} of 256 bits agree");
        }
    }
}

#[test]
fn off_is_the_plain_sum() {
    let case = cases().into_iter().find(|c| c.name.ends_with("off")).unwrap();
    let real = |i: usize| match &case.inputs[i] {
        crate::cases::Values::Real(x) => x.clone(),
        crate::cases::Values::Int(_) => unreachable!("both are numbers"),
    };
    let (residual, x) = (real(0), real(1));
    let want: Vec<f64> = residual.iter().zip(&x).map(|(a, b)| f64::from(a + b)).collect();
    let check = |device: &str, runtime: &mut dyn Runtime| {
        assert!(case.run(runtime).unwrap()[0].1 == want, "{device}");
    };
    check("CPU f32", &mut CpuRuntime::<f32>::new());
    #[cfg(feature = "gpu")]
    testing::gpu::each_device(check);
}

#[test]
fn refuses_to_drop_everything() {
    let op = |p| {
        Dropout {
            rows: 1,
            d: 1,
            p,
            tag: 0,
        }
        .validate()
    };
    assert!(op(0.999_999_94).is_ok());
    for p in [1.0, -0.1, f32::NAN] {
        let Err(UserError::Shape { reason, .. }) = op(p) else {
            panic!("{p} was taken")
        };
        assert!(reason.contains("0 <= p < 1"), "{reason}");
    }
}

use super::AttentionStep;
use super::cases::cases;
use crate::check::random::Fill;
use crate::check::{Case, Values};
use crate::cpu::CpuRuntime;
use crate::ops::{Op, OpDef, attention};
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

fn step_of(op: &attention::Attention, forgets: bool) -> AttentionStep {
    AttentionStep {
        b: op.b,
        h: op.h,
        d: op.d,
        rows: op.t + 3,
        scale: op.scale,
        forgets,
    }
}

#[test]
fn token_by_token_is_the_same() {
    for case in attention::cases::cases() {
        let Op::Attention(op) = &case.op else {
            unreachable!("the cases are of this op")
        };
        testing::steps_match_sequence(&case, step_of(op, false));
    }
}

/// o of the whole sequence, straight from the definition; sums of `log_f` from key to query.
fn forgetting_attention(op: &attention::Attention, x: &[Vec<f32>; 4]) -> Vec<f64> {
    let [q, k, v, log_f] = x.each_ref().map(|x| -> Vec<f64> { x.iter().map(|x| f64::from(*x)).collect() });
    let mut o = vec![0.0; q.len()];
    for head in 0..op.b * op.h {
        let row = |t: usize| (head / op.h * op.t + t) * op.h + head % op.h;
        let at = |t: usize| row(t) * op.d..(row(t) + 1) * op.d;
        for i in 0..op.t {
            let score = |j: usize| {
                let dot: f64 = q[at(i)].iter().zip(&k[at(j)]).map(|(q, k)| q * k).sum();
                f64::from(op.scale) * dot + (j + 1..=i).map(|l| log_f[row(l)]).sum::<f64>()
            };
            let z: Vec<f64> = (0..=i).map(score).collect();
            let max = z.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = z.iter().map(|z| (z - max).exp()).sum();
            for (j, z) in z.iter().enumerate() {
                for (o, v) in o[at(i)].iter_mut().zip(&v[at(j)]) {
                    *o += (z - max).exp() / total * v;
                }
            }
        }
    }
    o
}

#[test]
fn token_by_token_forgets_as_the_whole_sequence_does() {
    for (t, forget) in [(5, 0.5), (140, 0.02), (140, 30.0)] {
        let op = attention::Attention {
            b: 2,
            t,
            h: 2,
            d: 16,
            scale: 0.25,
        };
        let n = op.b * op.t * op.h;
        let mut fill = Fill::new(t as u64);
        let mut normal = || fill.normal(n * op.d);
        let (q, k, v) = (normal(), normal(), normal());
        let x = [q, k, v, fill.uniform(n, -forget, 0.0)];
        let inputs: Vec<(&str, &[f32])> = ["q", "k", "v", "log_f"]
            .into_iter()
            .zip(x.iter().map(Vec::as_slice))
            .collect();
        let name = format!("T{t} forgets up to {forget}");
        testing::steps_give(&name, &step_of(&op, true).into(), &inputs, &forgetting_attention(&op, &x));
    }
}

/// Of a state that holds NaN everywhere, only what this token wrote is read at position 0.
#[test]
fn rows_after_the_position_are_not_read() {
    for mut case in cases().into_iter().filter(|case| case.name.contains(" 0 of ")) {
        let Op::AttentionStep(op) = &case.op else {
            unreachable!("the cases are of this op")
        };
        let states = case.inputs.len() - op.inputs().len();
        for state in case.inputs.iter_mut().rev().take(states) {
            if let Values::Real(x) = state {
                x.fill(f32::NAN);
            }
        }
        let Values::Real(v) = &case.inputs[2] else {
            unreachable!("v holds numbers")
        };
        let v: Vec<f64> = v.iter().map(|x| f64::from(*x)).collect();
        let first = |case: &Case, runtime: &mut dyn crate::runtime::Runtime| case.run(runtime).unwrap().swap_remove(0);
        assert_eq!(first(&case, &mut CpuRuntime::<f64>::new()).1, v);
        #[cfg(feature = "gpu")]
        testing::gpu::each_device(|device, runtime| assert_eq!(first(&case, runtime).1, v, "{device}"));
    }
}

#[test]
fn refuses_widths_and_sizes_it_cannot_have() {
    let op = AttentionStep {
        b: 1,
        h: 2,
        d: 8,
        rows: 4,
        scale: 1.0,
        forgets: false,
    };
    assert!(op.validate().is_ok());
    let refused = |op: AttentionStep| op.validate().unwrap_err().to_string();
    assert_eq!(
        refused(AttentionStep { d: 257, ..op.clone() }),
        "attention_step: D = 257: allowed: 1 to 256"
    );
    assert!(refused(AttentionStep { rows: 0, ..op.clone() }).contains("rows is 0"));
    assert!(
        refused(AttentionStep {
            scale: f32::NAN,
            ..op
        })
        .contains("finite")
    );
}

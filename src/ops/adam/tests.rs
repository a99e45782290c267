use super::{Adam, BETA1, BETA2};
use crate::cpu::CpuRuntime;
use crate::graph::{Graph, Init, Output};
use crate::ops::grad_norm::GradNorm;
use crate::runtime::Runtime;
use crate::step::StepParams;
use crate::tensor::{Bank, TensorId};
use bytemuck::Zeroable;

/// A graph of one clip and one Adam call over `n` parameters, and the tensor of the statistics.
fn update(n: usize) -> (Graph, TensorId) {
    let mut g = Graph::new();
    g.param("w", &[n], Init::Constant(0.0));
    let n = g.bank_len();
    let grads = g.bank(Bank::Grad);
    let stats = g.activation("stats", &[4], crate::tensor::Dtype::F32);
    g.keep(stats);
    let stats_out = Output {
        tensor: stats,
        accumulate: true,
    };
    g.call_into(GradNorm { n }, &[grads], &[stats_out]).unwrap();
    let outs = [Bank::Param, Bank::Moment1, Bank::Moment2].map(|b| Output {
        tensor: g.bank(b),
        accumulate: true,
    });
    g.call_into(Adam { n }, &[grads, stats], &outs).unwrap();
    (g, stats)
}

fn step(k: i32, lr: f64) -> StepParams {
    StepParams {
        step_size: (lr / (1.0 - BETA1.powi(k))) as f32,
        inv_sqrt_bias2: (1.0 / (1.0 - BETA2.powi(k)).sqrt()) as f32,
        clip: 1.0,
        ..StepParams::zeroed()
    }
}

fn gradient(n: usize, k: usize) -> Vec<f32> {
    (0..n)
        .map(|i| ((i * 7 + k * 13) as f32 * 0.37).sin() * if i % 5 == 0 { 1e-6 } else { 0.01 })
        .collect()
}

/// Three updates of the textbook form, in f64.
fn expected(n: usize) -> (Vec<f64>, f64) {
    let (mut p, mut m, mut v, mut norm) = (vec![0.0; n], vec![0.0; n], vec![0.0; n], 0.0);
    for k in 1..=3 {
        let g: Vec<f64> = gradient(n, k).into_iter().map(f64::from).collect();
        norm = g.iter().map(|g| g * g).sum::<f64>().sqrt();
        let factor = (1.0 / (norm + 1e-6)).min(1.0);
        for i in 0..n {
            let g = g[i] * factor;
            m[i] = 0.9 * m[i] + 0.1 * g;
            v[i] = 0.999 * v[i] + 0.001 * g * g;
            let (mh, vh) = (
                m[i] / (1.0 - 0.9f64.powi(k as i32)),
                v[i] / (1.0 - 0.999f64.powi(k as i32)),
            );
            p[i] -= 0.01 * mh / (vh.sqrt() + 1e-8);
        }
    }
    (p, norm)
}

fn runs_right(name: &str, runtime: &mut dyn Runtime, tolerance: f64) {
    let n = 64 * 1000;
    let (graph, stats) = update(n);
    let program = runtime.load(&graph).unwrap();
    for k in 1..=3 {
        runtime.write_bank(Bank::Grad, &gradient(n, k)).unwrap();
        runtime.run(program, &step(k as i32, 0.01)).unwrap();
    }
    let (want, norm) = expected(n);
    let got: Vec<f64> = runtime
        .read_bank(Bank::Param)
        .unwrap()
        .into_iter()
        .map(f64::from)
        .collect();
    let d = crate::cases::Deviation::new("p", &got, &want, 1e-6, tolerance);
    assert!(d.passed(), "{name}: {d:?}");
    let s = runtime.read(program, stats).unwrap();
    assert!(
        (s[0] / norm - 1.0).abs() < 1e-6 && s[2] == 0.0,
        "{name}: {s:?}, norm {norm}"
    );

    let mut bad = gradient(n, 4);
    bad[n / 2] = f32::NAN;
    let before = runtime.read_bank(Bank::Param).unwrap();
    for g in [&bad, &gradient(n, 5)] {
        runtime.write_bank(Bank::Grad, g).unwrap();
        runtime.run(program, &step(4, 0.01)).unwrap();
    }
    assert_eq!(runtime.read(program, stats).unwrap()[2], 1.0, "{name}");
    assert_eq!(
        runtime.read_bank(Bank::Param).unwrap(),
        before,
        "{name}: parameters moved after a NaN"
    );
}

#[test]
fn three_updates_match_the_textbook_and_a_nan_halts() {
    runs_right("f64", &mut CpuRuntime::<f64>::new(), 1e-7);
    runs_right("f32", &mut CpuRuntime::<f32>::new(), 1e-5);
    #[cfg(feature = "gpu")]
    crate::testing::gpu::each_device(|name, runtime| runs_right(name, runtime, 1e-5));
}

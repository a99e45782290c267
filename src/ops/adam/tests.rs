use super::{Adam, BETA1, BETA2};
use crate::cpu::CpuRuntime;
use crate::graph::{Graph, Init, Output};
use crate::ops::grad_norm::GradNorm;
use crate::runtime::Runtime;
use crate::step::StepParams;
use crate::tensor::{Bank, TensorId};
use bytemuck::Zeroable;

/// A graph of one clip and one Adam call over `n` parameters, and the tensor of the statistics. `scaled`: with a loss scale.
fn update(n: usize, scaled: bool) -> (Graph, TensorId) {
    let mut g = Graph::new();
    g.param("w", &[n], Init::Constant(0.0));
    let n = g.bank_len();
    let grads = g.bank(Bank::Grad);
    let stats = g.activation("stats", &[4], crate::tensor::Dtype::F32);
    g.keep(stats);
    let out = |tensor| Output {
        tensor,
        accumulate: true,
    };
    let mut norms = vec![out(stats)];
    if scaled {
        norms.push(out(g.bank(Bank::Scale)));
    }
    g.call_into(GradNorm { n, scaled }, &[grads], &norms).unwrap();
    let outs = [Bank::Param, Bank::Moment1, Bank::Moment2].map(|b| out(g.bank(b)));
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
    let (graph, stats) = update(n, false);
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

/// Gradients that are a power of two too large give the same update as those that are not, bit for bit; what is not finite
/// halves the scale and is left out, until there is nothing to halve.
fn scales_right(name: &str, runtime: &mut dyn Runtime) {
    let n = 64 * 10;
    let mut params = Vec::new();
    for scaled in [false, true] {
        runtime.reset();
        let (graph, stats) = update(n, scaled);
        let program = runtime.load(&graph).unwrap();
        if scaled {
            runtime.write_bank(Bank::Scale, &[4.0, 1998.0, 0.0, 0.0]).unwrap();
        }
        // The scale is doubled after the second update.
        for (k, scale) in [(1, 4.0), (2, 4.0), (3, 8.0)] {
            let factor = if scaled { scale } else { 1.0 };
            let g: Vec<f32> = gradient(n, k).iter().map(|g| g * factor).collect();
            runtime.write_bank(Bank::Grad, &g).unwrap();
            runtime.run(program, &step(k as i32, 0.01)).unwrap();
        }
        params.push((
            runtime.read_bank(Bank::Param).unwrap(),
            runtime.read(program, stats).unwrap(),
        ));
        if !scaled {
            continue;
        }
        assert_eq!(
            runtime.read_bank(Bank::Scale).unwrap(),
            [8.0, 1.0, 0.0, 0.0],
            "{name}"
        );
        let mut bad = gradient(n, 4);
        bad[7] = f32::INFINITY;
        runtime.write_bank(Bank::Grad, &bad).unwrap();
        for (left, halted) in [
            ([4.0, 0.0, 1.0], 0.0),
            ([2.0, 0.0, 2.0], 0.0),
            ([1.0, 0.0, 3.0], 0.0),
            ([1.0, 0.0, 3.0], 1.0),
        ] {
            runtime.run(program, &step(4, 0.01)).unwrap();
            let stats = runtime.read(program, stats).unwrap();
            assert_eq!(runtime.read_bank(Bank::Scale).unwrap()[..3], left, "{name}");
            assert_eq!(stats[2..], [halted, 1.0 - halted], "{name}");
        }
        assert_eq!(runtime.read_bank(Bank::Param).unwrap(), params[1].0, "{name}");
    }
    // The factor of the gradients differs by the scale, on purpose.
    let [(plain, of_plain), (scaled, of_scaled)] = &params[..] else {
        unreachable!("two runs")
    };
    assert!(plain == scaled, "{name}: a loss scale changes the update");
    assert_eq!(of_plain[0], of_scaled[0], "{name}: norm");
}

#[test]
fn a_loss_scale_changes_no_digit_and_gives_way_to_infinities() {
    scales_right("f64", &mut CpuRuntime::<f64>::new());
    scales_right("f32", &mut CpuRuntime::<f32>::new());
    #[cfg(feature = "gpu")]
    crate::testing::gpu::each_device(|name, runtime| scales_right(name, runtime));
}

use super::MesaStep;
use super::cases::cases;
use crate::cases::Fill;
use crate::port::OpDef;
use crate::testing::{self, op_tests};

op_tests! {
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
    gpu kernels_fit_webgpu_default_limits: cases(),
}

/// x of a x = y by elimination; a \[d,d\] is positive definite.
fn solved(mut a: Vec<f64>, mut y: Vec<f64>) -> Vec<f64> {
    let d = y.len();
    for i in 0..d {
        for row in i + 1..d {
            let factor = a[row * d + i] / a[i * d + i];
            for j in i..d {
                a[row * d + j] -= factor * a[i * d + j];
            }
            y[row] -= factor * y[i];
        }
    }
    for i in (0..d).rev() {
        let known: f64 = (i + 1..d).map(|j| a[i * d + j] * y[j]).sum();
        y[i] = (y[i] - known) / a[i * d + i];
    }
    y
}

/// o of whole sequences, straight from the definition.
fn mesa(op: &MesaStep, t: usize, x: &[Vec<f32>; 6]) -> Vec<f64> {
    let (h, d) = (op.h, op.d);
    let [q, k, v, g, beta, lambda] = x
        .each_ref()
        .map(|x| -> Vec<f64> { x.iter().map(|x| f64::from(*x)).collect() });
    let mut o = vec![0.0; q.len()];
    for head in 0..op.b * h {
        let (mut m, mut n) = (vec![0.0; d * d], vec![0.0; d * d]);
        for token in 0..t {
            let row = (head / h * t + token) * h + head % h;
            let at = |i: usize| row * d + i;
            for i in 0..d * d {
                let write = beta[row] * k[at(i / d)];
                m[i] = g[row].exp() * m[i] + write * k[at(i % d)];
                n[i] = g[row].exp() * n[i] + write * v[at(i % d)];
            }
            let mut a = m.clone();
            for i in 0..d {
                a[i * d + i] += lambda[head % h * d + i];
            }
            let x = solved(a, q[at(0)..at(d)].to_vec());
            for j in 0..d {
                o[at(j)] = (0..d).map(|i| x[i] * n[i * d + j]).sum();
            }
        }
    }
    o
}

#[test]
fn token_by_token_is_the_definition() {
    for (name, (b, t, h, d), decay, equal_keys) in [
        ("short", (2, 3, 2, 4), 0.3, false),
        ("one element", (1, 20, 2, 1), 0.3, false),
        ("no decay", (1, 70, 2, 8), 0.0, false),
        ("equal keys", (1, 130, 1, 16), 0.0, true),
        ("strong decay", (1, 40, 1, 9), 16.0, false),
        ("wide", (1, 20, 2, 81), 0.3, false),
        ("no decay, wide", (1, 65, 1, 128), 0.0, false),
    ] {
        let op = MesaStep { b, h, d };
        let rows = b * t * h;
        let mut fill = Fill::new((t + d) as u64);
        let (q, mut k) = (fill.unit_rows(rows, d), fill.unit_rows(rows, d));
        if equal_keys {
            let (first, rest) = k.split_at_mut(h * d);
            rest.chunks_mut(h * d)
                .for_each(|keys| keys.copy_from_slice(first));
        }
        let x = [
            q,
            k,
            fill.normal(rows * d),
            fill.uniform(rows, -decay, 0.0),
            fill.uniform(rows, 0.05, 0.95),
            fill.uniform(h * d, 0.25, 2.0),
        ];
        let names = ["q", "k", "v", "g", "beta", "lambda"];
        let inputs: Vec<(&str, &[f32])> = names.into_iter().zip(x.iter().map(Vec::as_slice)).collect();
        testing::steps_give(name, &op.clone().into(), &inputs, &mesa(&op, t, &x));
    }
}

#[test]
fn refuses_head_dim_257() {
    let op = |d| MesaStep { b: 1, h: 2, d };
    assert!(op(256).validate().is_ok());
    assert_eq!(
        op(257).validate().unwrap_err().to_string(),
        "mesa_step: head width D 257: must be from 1 to 256; use more heads"
    );
    assert!(MesaStep { h: 0, ..op(4) }.validate().is_err());
}

use super::Mesa;
use super::cases::cases;
use crate::cases::{Case, Deviation, TOLERANCE_F32, Values};
use crate::cpu::CpuRuntime;
use crate::ops::chunks::tests::{Oracle, every_chunk_matches};
use crate::ops::{Op, chunks};
use crate::port::OpDef;
use crate::runtime::Runtime;
use crate::testing;

fn tiny() -> Vec<Case> {
    chunks::tests::tiny(cases(), 1_000)
}

/// Solves a x = b for a symmetric positive definite a, by Cholesky.
fn cholesky(a: &[f64], b: &[f64]) -> Vec<f64> {
    let n = b.len();
    let mut l = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let done: f64 = (0..j).map(|k| l[i * n + k] * l[j * n + k]).sum();
            let rest = a[i * n + j] - done;
            l[i * n + j] = if i == j { rest.sqrt() } else { rest / l[j * n + j] };
        }
    }
    let mut x = b.to_vec();
    for i in 0..n {
        for k in 0..i {
            x[i] -= l[i * n + k] * x[k];
        }
        x[i] /= l[i * n + i];
    }
    for i in (0..n).rev() {
        for k in i + 1..n {
            x[i] -= l[k * n + i] * x[k];
        }
        x[i] /= l[i * n + i];
    }
    x
}

/// The recurrence token by token, forward and backward, in f64.
fn head(all: &mut Oracle, op: &Mesa, inputs: &[Vec<f64>], grad_o: &[f64], b: usize, h: usize) {
    let d = op.d;
    let [q, k, v, g, beta, lambda] = inputs else {
        unreachable!("six inputs")
    };
    let lambda = &lambda[h * d..(h + 1) * d];
    let row = |t: usize| (b * op.t + t) * op.h + h;
    let at = |x: &[f64], t: usize| x[row(t) * d..(row(t) + 1) * d].to_vec();
    let regularised = |m: &[f64]| -> Vec<f64> {
        let mut a = m.to_vec();
        (0..d).for_each(|i| a[i * d + i] += lambda[i]);
        a
    };
    let (mut ms, mut ns) = (vec![vec![0.0; d * d]], vec![vec![0.0; d * d]]);
    let mut xs = Vec::new();
    for t in 0..op.t {
        let (mut m, mut n) = (ms[t].clone(), ns[t].clone());
        let (key, value, decay) = (at(k, t), at(v, t), g[row(t)].exp());
        for i in 0..d * d {
            let kb = beta[row(t)] * key[i / d];
            m[i] = decay * m[i] + kb * key[i % d];
            n[i] = decay * n[i] + kb * value[i % d];
        }
        let x = cholesky(&regularised(&m), &at(q, t));
        for i in 0..d * d {
            all.o[row(t) * d + i % d] += n[i] * x[i / d];
        }
        ms.push(m);
        ns.push(n);
        xs.push(x);
    }
    let (mut grad_m, mut grad_n) = (vec![0.0; d * d], vec![0.0; d * d]);
    for t in (0..op.t).rev() {
        let (grad_o, x, r) = (at(grad_o, t), &xs[t], row(t));
        let (key, value, decay) = (at(k, t), at(v, t), g[r].exp());
        let mut u = vec![0.0; d];
        for i in 0..d * d {
            u[i / d] += ns[t + 1][i] * grad_o[i % d];
        }
        let y = cholesky(&regularised(&ms[t + 1]), &u);
        for i in 0..d {
            all.grads[0][r * d + i] = y[i];
            all.grads[5][h * d + i] -= y[i] * x[i];
        }
        let mut grad_kb = vec![0.0; d];
        for i in 0..d * d {
            grad_m[i] -= y[i / d] * x[i % d];
            grad_n[i] += x[i / d] * grad_o[i % d];
            let kb = beta[r] * key[i / d];
            grad_kb[i / d] += grad_m[i] * key[i % d] + grad_n[i] * value[i % d];
            all.grads[1][r * d + i % d] += grad_m[i] * kb;
            all.grads[2][r * d + i % d] += grad_n[i] * kb;
            all.grads[3][r] += decay * (grad_m[i] * ms[t][i] + grad_n[i] * ns[t][i]);
            grad_m[i] *= decay;
            grad_n[i] *= decay;
        }
        for i in 0..d {
            all.grads[1][r * d + i] += beta[r] * grad_kb[i];
            all.grads[4][r] += key[i] * grad_kb[i];
        }
    }
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
        let head = |all: &mut Oracle, x: &[Vec<f64>], grad_o: &[f64], b, h| head(all, own, x, grad_o, b, h);
        every_chunk_matches(case, (own.b, own.h), own.chunk, &with_chunk, head, ROUNDING_F64);
    }
}

#[test]
fn grad_matches_finite_difference() {
    testing::grad_matches_finite_difference(&tiny());
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

/// There is one variant of each kernel, so this is also what every adapter runs.
#[cfg(feature = "gpu")]
#[test]
fn kernels_fit_webgpu_default_limits() {
    testing::gpu::fits_webgpu_default_limits(&cases());
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
fn gradients_accumulate() {
    testing::gradients_accumulate(&tiny()[2..3]);
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

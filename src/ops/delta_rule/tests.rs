use super::DeltaRule;
use super::cases::cases;
use crate::cases::Case;
use crate::ops::chunks::tests::{Oracle, every_chunk_matches};
use crate::ops::{Op, chunks};
use crate::port::OpDef;
use crate::testing;

fn tiny() -> Vec<Case> {
    chunks::tests::tiny(cases(), 2_000)
}

/// One delta step: its row in k, v and beta, its token's row in q, g and o, and its place in the token.
struct Step {
    row: usize,
    token: usize,
    first: bool,
    last: bool,
}

/// The steps of one head.
fn householder(op: &DeltaRule, b: usize, h: usize) -> Vec<Step> {
    let at = |t: usize, i: usize| (b * t + i) * op.h + h;
    let step = |i: usize| Step {
        row: at(op.t * op.householder, i),
        token: at(op.t, i / op.householder),
        first: i.is_multiple_of(op.householder),
        last: i % op.householder == op.householder - 1,
    };
    (0..op.t * op.householder).map(step).collect()
}

/// The recurrence token by token, forward and backward, in f64.
fn head(all: &mut Oracle, op: &DeltaRule, x: &[Vec<f64>], grad_o: &[f64], householder: &[Step]) {
    let (d_k, d_v, s) = (op.d_k, op.d_v, f64::from(op.scale));
    let decay = |at: &Step| match x.get(4) {
        Some(g) if at.first => g[at.token].exp(),
        _ => 1.0,
    };
    let row = |x: &[f64], r: usize, d: usize| x[r * d..(r + 1) * d].to_vec();
    // M^T a for a [d_k, d_v] matrix.
    let read = |m: &[f64], a: &[f64]| -> Vec<f64> {
        (0..d_v)
            .map(|j| (0..d_k).map(|i| m[i * d_v + j] * a[i]).sum())
            .collect()
    };
    let times = |m: &[f64], b: &[f64]| -> Vec<f64> {
        (0..d_k)
            .map(|i| (0..d_v).map(|j| m[i * d_v + j] * b[j]).sum())
            .collect()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut states = vec![vec![0.0; d_k * d_v]];
    let mut decayed = Vec::new();
    let mut errors = Vec::new();
    for at in householder {
        let r = at.row;
        let mut state: Vec<f64> = states[states.len() - 1].iter().map(|m| decay(at) * m).collect();
        decayed.push(state.clone());
        let k = row(&x[1], r, d_k);
        let e: Vec<f64> = row(&x[2], r, d_v)
            .iter()
            .zip(read(&state, &k))
            .map(|(v, had)| v - had)
            .collect();
        for i in 0..d_k {
            for j in 0..d_v {
                state[i * d_v + j] += k[i] * x[3][r] * e[j];
            }
        }
        if at.last {
            let o = all.o[at.token * d_v..].iter_mut();
            for (o, m) in o.zip(read(&state, &row(&x[0], at.token, d_k))) {
                *o = s * m;
            }
        }
        states.push(state);
        errors.push(e);
    }
    let mut grad_state = vec![0.0; d_k * d_v];
    for (t, at) in householder.iter().enumerate().rev() {
        let (r, token) = (at.row, at.token);
        let (k, beta) = (row(&x[1], r, d_k), x[3][r]);
        let (before, e) = (&decayed[t], &errors[t]);
        let add = |grad_state: &mut [f64], a: &[f64], b: &[f64], sign: f64| {
            for i in 0..d_k {
                for j in 0..d_v {
                    grad_state[i * d_v + j] += sign * a[i] * b[j];
                }
            }
        };
        if at.last {
            let grad_o: Vec<f64> = row(grad_o, token, d_v).iter().map(|x| s * x).collect();
            add(&mut grad_state, &row(&x[0], token, d_k), &grad_o, 1.0);
            all.grads[0][token * d_k..][..d_k].copy_from_slice(&times(&states[t + 1], &grad_o));
        }
        let seen = read(&grad_state, &k);
        all.grads[3][r] = dot(&seen, e);
        let grad_v: Vec<f64> = seen.iter().map(|x| beta * x).collect();
        let (up, down) = (times(&grad_state, e), times(before, &grad_v));
        for i in 0..d_k {
            all.grads[1][r * d_k + i] = beta * up[i] - down[i];
        }
        all.grads[2][r * d_v..][..d_v].copy_from_slice(&grad_v);
        add(&mut grad_state, &k, &grad_v, -1.0);
        if at.first && op.decays {
            all.grads[4][token] = dot(&grad_state, before);
        }
        grad_state
            .iter_mut()
            .for_each(|grad_state| *grad_state *= decay(at));
    }
}

/// Rounding in f64: sums over some hundred terms, and over chunks.
const ROUNDING_F64: f64 = 1e-12;

#[test]
fn chunkwise_matches_token_by_token() {
    for case in &cases() {
        let Op::DeltaRule(own) = &case.op else {
            unreachable!("the cases are of this op")
        };
        let with_chunk = |chunk| DeltaRule { chunk, ..own.clone() }.into();
        let head = |all: &mut Oracle, x: &[Vec<f64>], grad_o: &[f64], b, h| {
            head(all, own, x, grad_o, &householder(own, b, h));
        };
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

#[test]
fn gradients_accumulate() {
    testing::gradients_accumulate(&cases()[4..5]);
}

#[test]
fn refuses_widths_and_chunks_it_cannot_have() {
    let op = DeltaRule {
        b: 1,
        t: 4,
        h: 2,
        d_k: 8,
        d_v: 8,
        scale: 1.0,
        decays: false,
        householder: 1,
        chunk: 64,
    };
    assert!(op.validate().is_ok());
    let refused = |op: DeltaRule| op.validate().unwrap_err().to_string();
    assert_eq!(
        refused(DeltaRule {
            d_v: 257,
            ..op.clone()
        }),
        "delta_rule: head widths d_k 8, d_v 257: each must be from 1 to 256; use more heads"
    );
    assert!(refused(DeltaRule { d_k: 0, ..op.clone() }).contains("d_k 0"));
    assert_eq!(
        refused(DeltaRule {
            chunk: 48,
            ..op.clone()
        }),
        "delta_rule: chunk 48: allowed: 16, 32, 64"
    );
    assert!(refused(DeltaRule { t: 0, ..op.clone() }).contains("T 0"));
    for householder in [0, 9] {
        assert_eq!(
            refused(DeltaRule {
                householder,
                ..op.clone()
            }),
            format!("delta_rule: {householder} Householder factors a token: allowed: 1 to 8")
        );
    }
    assert_eq!(
        refused(DeltaRule {
            t: 16 * 16_384,
            chunk: 16,
            ..op
        }),
        "delta_rule: B 1, H 2, 16384 chunks: at most 65535, 65535 and 16383"
    );
}

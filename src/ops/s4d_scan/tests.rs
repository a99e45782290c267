use super::S4dScan;
use super::cases::cases;
use crate::cases::{Case, Values};
use crate::cpu::CpuRuntime;
use crate::ops::Op;
use crate::port::OpDef;
use crate::testing;

fn of_case(case: &Case) -> &S4dScan {
    match &case.op {
        Op::S4dScan(op) => op,
        _ => unreachable!("the op's own cases"),
    }
}

fn few(most: usize) -> Vec<Case> {
    let small = |c: &Case| of_case(c).b * of_case(c).t * of_case(c).channels * of_case(c).states <= most;
    cases().into_iter().filter(small).collect()
}

#[test]
fn grad_matches_finite_difference() {
    // Differences mean nothing where a gradient is below 1e-6, as those of slow rates, small steps and states that are
    // gone, or where a step of 1e-5 turns a state by a good part of a radian.
    let rough = [
        "gone at once",
        "rates near 0",
        "slow decay",
        "tiny steps",
        "fast turns",
    ];
    let smooth: Vec<_> = few(5000)
        .into_iter()
        .filter(|c| !rough.iter().any(|name| c.name.ends_with(name)))
        .collect();
    assert!(smooth.len() > 6);
    testing::grad_matches_finite_difference(&smooth);
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

#[cfg(feature = "gpu")]
#[test]
fn kernels_fit_webgpu_default_limits() {
    testing::gpu::fits_webgpu_default_limits(&cases());
}

#[test]
fn gradients_accumulate() {
    testing::gradients_accumulate(&few(5000)[1..4]);
}

/// y by the convolution 2 Re(Ct . e^(z l)), with the plain formulas of the factors.
fn convolved(op: &S4dScan, inputs: &[Vec<f64>]) -> Vec<f64> {
    let [u, log_dt, c, log_a, a_imag, skip] = inputs else {
        unreachable!("six inputs")
    };
    let (t, d, n) = (op.t, op.channels, op.states);
    let mut y = vec![0.0; u.len()];
    for channel in 0..d {
        let dt = log_dt[channel].exp();
        let mut kernel = vec![0.0; t];
        for j in channel * n..(channel + 1) * n {
            let (re, im) = (-log_a[j].exp(), a_imag[j]);
            let size = re * re + im * im;
            // (e^z - 1) / A.
            let (er, ei) = (
                (dt * re).exp() * (dt * im).cos() - 1.0,
                (dt * re).exp() * (dt * im).sin(),
            );
            let (pr, pi) = ((er * re + ei * im) / size, (ei * re - er * im) / size);
            let (cr, ci) = (
                c[2 * j] * pr - c[2 * j + 1] * pi,
                c[2 * j] * pi + c[2 * j + 1] * pr,
            );
            for (l, k) in kernel.iter_mut().enumerate() {
                let (l, turn) = (l as f64, dt * im * l as f64);
                *k += 2.0 * (dt * re * l).exp() * (cr * turn.cos() - ci * turn.sin());
            }
        }
        for b in 0..op.b {
            let at = |t: usize| (b * op.t + t) * d + channel;
            for s in 0..t {
                y[at(s)] = skip[channel] * u[at(s)] + (0..=s).map(|l| kernel[l] * u[at(s - l)]).sum::<f64>();
            }
        }
    }
    y
}

#[test]
fn the_scan_is_a_convolution() {
    for case in few(60_000) {
        if case.name.ends_with("rates near 0") {
            continue; // The plain formula loses its digits there.
        }
        let inputs: Vec<Vec<f64>> = case
            .inputs
            .iter()
            .map(|v| match v {
                Values::Real(x) => x.iter().map(|x| f64::from(*x)).collect(),
                Values::Int(_) => unreachable!("all inputs are numbers"),
            })
            .collect();
        let outputs = case.run(&mut CpuRuntime::<f64>::new()).unwrap();
        let want = convolved(of_case(&case), &inputs);
        let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
        let off = norm(&mut outputs[0].1.iter().zip(&want).map(|(a, b)| a - b));
        assert!(
            off <= 1e-9 * norm(&mut want.iter().copied()),
            "{}: {off:e}",
            case.name
        );
    }
}

#[cfg(feature = "gpu")]
#[test]
fn a_case_sums_several_sequences_in_a_slot() {
    assert!(
        cases()
            .iter()
            .any(|c| of_case(c).slots() > 1 && of_case(c).slots() < of_case(c).b)
    );
}

#[test]
fn refuses_129_states() {
    let op = |states| S4dScan {
        b: 1,
        t: 2,
        channels: 3,
        states,
    };
    assert!(op(128).validate().is_ok());
    let message = op(129).validate().unwrap_err().to_string();
    assert!(
        message.contains("129 states of a channel: at most 128"),
        "{message}"
    );
    assert!(op(0).validate().is_err());
}

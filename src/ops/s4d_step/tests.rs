use super::S4dStep;
use super::cases::cases;
use crate::cases::Deviation;
use crate::cpu::CpuRuntime;
use crate::ops::{Op, s4d_scan};
use crate::port::OpDef;
use crate::testing::{self, op_tests};

op_tests! {
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
    gpu kernels_fit_webgpu_default_limits: cases(),
}

#[test]
fn token_by_token_is_the_same() {
    for case in s4d_scan::cases::cases() {
        let Op::S4dScan(op) = &case.op else {
            unreachable!("the cases are of this op")
        };
        testing::steps_match_sequence(&case, S4dStep::from(op));
    }
}

/// So their errors are the same too, thousands of tokens into a sequence.
#[test]
fn the_cpu_gets_the_same_bits_as_from_the_scan() {
    for case in s4d_scan::cases::cases() {
        let Op::S4dScan(op) = &case.op else {
            unreachable!("the cases are of this op")
        };
        let (_, want) = case.run(&mut CpuRuntime::<f32>::new()).unwrap().swap_remove(0);
        let got = testing::token_by_token(&case, S4dStep::from(op), &mut CpuRuntime::<f32>::new());
        let first = got.iter().zip(&want).position(|(got, want)| got != want);
        assert!(first.is_none(), "{} at {first:?}", case.name);
    }
}

/// y and the new state, with the plain formulas of the factors.
fn expected(op: &S4dStep, inputs: &[Vec<f64>]) -> [Vec<f64>; 2] {
    let [u, log_dt, c, log_a, a_imag, skip, _position, state] = inputs else {
        unreachable!("seven inputs and the state")
    };
    let (mut y, mut state) = (Vec::new(), state.clone());
    for (row, u) in u.iter().enumerate() {
        let channel = row % op.channels;
        let dt = log_dt[channel].exp();
        let mut sum = skip[channel] * u;
        for n in 0..op.states {
            let at = channel * op.states + n;
            let (re, im) = (-log_a[at].exp(), a_imag[at]);
            let (pr, pi) = (
                (dt * re).exp() * (dt * im).cos(),
                (dt * re).exp() * (dt * im).sin(),
            );
            let h = &mut state[2 * (row * op.states + n)..][..2];
            (h[0], h[1]) = (pr * h[0] - pi * h[1] + u, pr * h[1] + pi * h[0]);
            // C (e^z - 1), over A.
            let (cr, ci) = (c[2 * at], c[2 * at + 1]);
            let (tr, ti) = (cr * (pr - 1.0) - ci * pi, cr * pi + ci * (pr - 1.0));
            let size = re * re + im * im;
            let (tr, ti) = ((tr * re + ti * im) / size, (ti * re - tr * im) / size);
            sum += 2.0 * (tr * h[0] - ti * h[1]);
        }
        y.push(sum);
    }
    [y, state]
}

#[test]
fn a_token_is_the_definition() {
    for case in cases() {
        if case.name.ends_with("rates near 0") {
            continue; // The plain formula loses its digits there.
        }
        let Op::S4dStep(op) = &case.op else {
            unreachable!("the cases are of this op")
        };
        let got = case.run(&mut CpuRuntime::<f64>::new()).unwrap();
        for ((name, got), want) in got.iter().zip(expected(op, &testing::reals(&case))) {
            let d = Deviation::new(name, got, &want, 1e-10, 1e-10);
            assert!(d.passed(), "{}: {d:?}", case.name);
        }
    }
}

#[test]
fn refuses_129_states() {
    let op = |states| S4dStep {
        b: 1,
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

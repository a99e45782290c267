use super::ScanStep;
use super::cases::cases;
use crate::cases::{Case, Deviation, Values};
use crate::cpu::CpuRuntime;
use crate::ops::{Op, selective_scan};
use crate::port::OpDef;
use crate::testing::{self, op_tests};

op_tests! {
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
    gpu kernels_fit_webgpu_default_limits: cases(),
}

#[test]
fn token_by_token_is_the_same() {
    // One case is only there for the launches of the backward pass.
    let cases = selective_scan::cases::cases();
    for case in cases.iter().filter(|case| !case.name.contains("E8500")) {
        let Op::SelectiveScan(op) = &case.op else {
            unreachable!("the cases are of this op")
        };
        testing::steps_match_sequence(case, ScanStep::from(op));
    }
}

/// y and the new state, straight from the definition.
fn expected(op: &ScanStep, case: &Case) -> [Vec<f64>; 2] {
    let input = |name: &str| -> Option<Vec<f64>> {
        let at = op.inputs().iter().position(|p| p.name == name)?;
        match &case.inputs[at] {
            Values::Real(x) => Some(x.iter().map(|x| f64::from(*x)).collect()),
            Values::Int(_) => None,
        }
    };
    let at = |x: &Option<Vec<f64>>, i: usize| x.as_ref().map(|x| x[i]);
    let names = ["u", "delta_raw", "z", "Bm", "Cm", "A_log", "delta_bias", "D"];
    let [u, delta_raw, z, bm, cm, a_log, delta_bias, skip] = names.map(input);
    let Some(Values::Real(state)) = case.inputs.last() else {
        unreachable!("the state comes last")
    };
    let mut state: Vec<f64> = state.iter().map(|x| f64::from(*x)).collect();
    let mut y = Vec::new();
    for row in 0..op.b * op.channels {
        let (b, e) = (row / op.channels, row % op.channels);
        let raw = at(&delta_raw, row).zip(at(&delta_bias, e));
        let dt = raw.map(|(raw, bias)| (raw + bias).exp().ln_1p());
        let mut sum = 0.0;
        for n in 0..op.states {
            let h = &mut state[row * op.states + n];
            if let Some(a) = at(&a_log, e * op.states + n) {
                *h *= (-dt.unwrap() * a.exp()).exp();
            }
            let write = at(&u, row).unwrap() * if op.tied { dt.unwrap() } else { 1.0 };
            *h += write * at(&bm, b * op.states + n).unwrap();
            sum += at(&cm, b * op.states + n).unwrap() * *h;
        }
        sum += at(&skip, e).unwrap() * at(&u, row).unwrap();
        y.push(sum * at(&z, row).map_or(1.0, |z| z / (1.0 + (-z).exp())));
    }
    [y, state]
}

#[test]
fn every_flag_does_what_it_says() {
    for case in cases() {
        let Op::ScanStep(op) = &case.op else {
            unreachable!("the cases are of this op")
        };
        let got = case.run(&mut CpuRuntime::<f64>::new()).unwrap();
        for ((name, got), want) in got.iter().zip(expected(op, &case)) {
            let d = Deviation::new(name, got, &want, 1e-12, 1e-12);
            assert!(d.passed(), "{}: {d:?}", case.name);
        }
    }
}

#[test]
fn inputs_that_no_flag_needs_are_not_there() {
    let op = ScanStep {
        b: 1,
        channels: 2,
        states: 3,
        gated: false,
        tied: false,
        decays: false,
    };
    let names = |op: &ScanStep| -> Vec<&str> { op.inputs().iter().map(|p| p.name).collect() };
    assert_eq!(names(&op), ["u", "Bm", "Cm", "D"]);
    let tied = ScanStep {
        tied: true,
        ..op.clone()
    };
    assert_eq!(names(&tied), ["u", "delta_raw", "Bm", "Cm", "delta_bias", "D"]);
    let all = ScanStep {
        gated: true,
        decays: true,
        ..tied
    };
    assert_eq!(
        names(&all),
        ["u", "delta_raw", "z", "Bm", "Cm", "A_log", "delta_bias", "D"]
    );
}

use super::S4dScan;
use super::cases::cases;
use super::reference;
use crate::cases::{Case, Values};
use crate::cpu::CpuRuntime;
use crate::ops::Op;
use crate::port::OpDef;
use crate::testing::{self, op_tests};

op_tests! {
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
    gpu kernels_fit_webgpu_default_limits: cases(),
    gradients_accumulate: few(5000)[1..4],
}

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
fn the_twin_is_the_recurrence() {
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
        let want = reference::outputs(of_case(&case), &inputs);
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

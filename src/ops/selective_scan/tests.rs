#[cfg(feature = "gpu")]
use super::CHUNK;
use super::SelectiveScan;
use super::cases::{cases, usual};
#[cfg(feature = "gpu")]
use super::gpu::Groups;
use super::reference;
use crate::cases::{Case, Values};
use crate::cpu::CpuRuntime;
use crate::ops::Op;
use crate::port::OpDef;
use crate::testing::{self, op_tests};

op_tests! {
    f32_twin_matches_f64: cases(),
    gradients_accumulate: few(5000)[1..4],
}

fn of_case(case: &Case) -> &SelectiveScan {
    match &case.op {
        Op::SelectiveScan(op) => op,
        _ => unreachable!("the op's own cases"),
    }
}

/// Kernels of Mamba's scan and of the other variants: a driver that compiles on the CPU takes minutes for all of them.
#[cfg(feature = "gpu")]
mod kernels_match_oracle {
    use super::*;

    fn test(of_mamba: bool) {
        let is_part = |case: &Case| {
            let op = of_case(case);
            of_mamba == (op.gated && op.tied && op.decays)
        };
        let cases: Vec<Case> = cases().into_iter().filter(is_part).collect();
        testing::gpu::kernels_match_oracle(&cases);
    }

    #[test]
    fn of_mamba() {
        test(true);
    }

    #[test]
    fn of_other_variants() {
        test(false);
    }
}

fn few(most: usize) -> Vec<Case> {
    let small = |c: &Case| of_case(c).b * of_case(c).t * of_case(c).channels * of_case(c).states <= most;
    cases().into_iter().filter(small).collect()
}

#[test]
fn grad_matches_finite_difference() {
    let smooth: Vec<_> = few(5000)
        .into_iter()
        .filter(|c| !c.name.ends_with("steps") && !c.name.ends_with("rates"))
        .collect();
    assert!(smooth.len() > 4);
    testing::grad_matches_finite_difference(&smooth);
}

#[test]
fn the_twin_is_the_recurrence() {
    for case in few(60_000) {
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
            off <= 1e-12 * norm(&mut want.iter().copied()),
            "{}: {off:e}",
            case.name
        );
    }
}

#[cfg(feature = "gpu")]
#[test]
fn cases_reach_segments_and_several_launches() {
    let op = usual;
    // A full card walks each sequence in one go; a long sequence alone is cut into whole chunks.
    assert_eq!(op(64, 400, 2048, 64).segments(64 * 64, false).count, 1);
    assert_eq!(op(140, 70, 1, 2).segments(140, false).count, 1);
    assert_eq!(op(140, 400, 1, 2).segments(140, true).count, 2);
    let cut = op(1, 4096, 512, 64).segments(16, false);
    assert_eq!((cut.count, cut.tokens), (64, 2 * CHUNK));
    assert_eq!(op(2, 4096, 2048, 64).segments(2 * 64, false).count, 8);
    assert_eq!(op(4, 4096, 2048, 64).segments(4 * 64, false).count, 1);
    assert_eq!(op(1, 130, 70, 64).segments(3, false).count, 5);
    // Launches stay within the given words, and the paper's sizes run in few of them.
    let paper = op(64, 400, 2592, 64);
    let launch = paper.launch(81, 1, 2, 128 << 20);
    assert_eq!((launch.sequences, launch.tiles), (16, 81));
    assert!(launch.words <= 128 << 20);
    assert!(op(2200, 2, 1, 3).launch(1, 1, 2, 32 << 20).sequences < 2200);
    assert!(op(1, 2, 8500, 129).launch(2125, 1, 2, 32 << 20).tiles < 2125);
    let long = op(1, 20_000, 2592, 64).launch(81, 1, 2, 64 << 20);
    assert!(long.sequences == 1 && long.tiles < 81 && long.words <= 64 << 20);
}

#[cfg(feature = "gpu")]
#[test]
fn kernels_fit_webgpu_default_limits() {
    use crate::gpu::lower::lower;
    use crate::graph::Graph;
    use crate::shader::reflection;
    use crate::tensor::{Dtype, Precision};
    use crate::variant::Choice;
    let caps = crate::launch::Caps::webgpu_default();
    for states in [1, 4, 5, 8, 13, 16, 17, 32, 40, 64, 65, 128, 129, 200, 256] {
        for b in [1, 600] {
            let op = usual(b, 100, 70, states);
            let mut graph = Graph::new();
            let ports = op.inputs();
            let ins: Vec<_> = ports
                .iter()
                .map(|p| graph.input(p.name, &p.shape, p.storage.dtype(Precision::F32)))
                .collect();
            let y = graph.call(op, &ins).unwrap()[0];
            let grad_y = graph.input("dy", &[b, 100, 70], Dtype::F32);
            graph.backward(&[(y, grad_y)], &ins).unwrap();
            let lowered = lower(&graph, &caps, &Choice::default());
            for d in &lowered.dispatches {
                let found = reflection(&d.kernel).unwrap();
                assert!(
                    found.workgroup_bytes <= caps.workgroup_bytes,
                    "{}",
                    d.kernel.key()
                );
                assert!(
                    d.bindings.len() <= caps.storage_bindings as usize,
                    "{}",
                    d.kernel.key()
                );
                assert!(d.grid.iter().all(|n| *n <= 65_535), "{}", d.kernel.key());
            }
            let words = caps.binding_bytes as usize / 4;
            assert!(lowered.scratch.iter().all(|s| s.words <= words), "N{states} B{b}");
        }
    }
}

#[cfg(feature = "gpu")]
#[test]
fn lanes_of_a_subgroup_share_9_to_64_states() {
    let lanes = |states| Groups::new(states).map(|groups| groups.lanes);
    let found = [8, 9, 16, 17, 32, 33, 64, 65].map(lanes);
    let [eight, sixteen, all] = [8, 16, 32].map(Some);
    assert_eq!(found, [None, eight, eight, sixteen, sixteen, all, all, None]);
}

#[test]
fn variants_list_what_they_read() {
    let names = |gated, tied, decays| {
        let op = SelectiveScan {
            gated,
            tied,
            decays,
            ..usual(1, 2, 3, 4)
        };
        assert_eq!(op.inputs().len(), op.inputs().iter().filter(|p| p.saved).count());
        op.inputs().iter().map(|p| p.name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(true, true, true), "u delta_raw z Bm Cm A_log delta_bias D");
    assert_eq!(names(false, true, true), "u delta_raw Bm Cm A_log delta_bias D");
    assert_eq!(names(true, false, true), "u delta_raw z Bm Cm A_log delta_bias D");
    assert_eq!(names(true, true, false), "u delta_raw z Bm Cm delta_bias D");
    assert_eq!(names(false, false, false), "u Bm Cm D");
}

#[test]
fn refuses_257_states() {
    let op = |states| usual(1, 2, 3, states);
    assert!(op(256).validate().is_ok());
    let message = op(257).validate().unwrap_err().to_string();
    assert!(
        message.contains("257 states of a channel: at most 256"),
        "{message}"
    );
    assert!(op(0).validate().is_err());
}

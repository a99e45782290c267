use super::Projections;
use super::cases::cases;
use crate::cases::Case;
use crate::cpu::CpuRuntime;
use crate::port::OpDef;
use crate::testing::op_tests;

op_tests! {
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
    gradients_accumulate: cases()[..4],
    grad_matches_finite_difference: cases()[..3],
}

/// The layers one by one have the same outputs, to the bit: each matrix is where the docs say.
#[test]
fn layers_are_rows_of_one_matrix() {
    let op = Projections {
        rows: 2,
        inp: 64,
        outs: vec![2, 4, 1],
    };
    let x: Vec<f32> = (0..128).map(|i| (i as f32 * 0.37).sin()).collect();
    let w: Vec<f32> = (0..7 * 64).map(|i| (i as f32 * 0.11).cos()).collect();
    let run = |op, w: &[f32]| {
        let mut case = Case::new("by hand", op, vec![x.clone().into(), w.to_vec().into()]);
        case.outputs = case.op.outputs().len();
        case.run(&mut CpuRuntime::<f64>::new()).unwrap()
    };
    let all = run(crate::ops::Op::from(op.clone()), &w);
    let mut first = 0;
    for (i, layer) in op.layers().into_iter().enumerate() {
        let own = first..first + layer.out * layer.inp;
        first = own.end;
        let alone = run(layer.into(), &w[own]);
        assert_eq!(all[i].1, alone[0].1);
    }
}

#[test]
fn refuses_too_few_or_too_many_layers() {
    let refused = |outs: &[usize]| {
        let (rows, inp, outs) = (4, 64, outs.to_vec());
        Projections { rows, inp, outs }
            .validate()
            .err()
            .map(|e| e.to_string())
    };
    assert_eq!(refused(&[2, 2]), None);
    assert_eq!(refused(&[1, 2, 1]), None);
    for (bad, says) in [
        (&[2][..], "1 layers; allowed: 2 to 6"),
        (&[2; 7], "7 layers; allowed: 2 to 6"),
        (&[2, 0], "allowed: 1 to"),
    ] {
        let message = refused(bad).unwrap();
        assert!(message.contains(says), "{message}");
    }
}

#[cfg(feature = "gpu")]
mod gpu {
    use super::*;
    use crate::gpu::lower::{check, lower};
    use crate::launch::{Caps, Dispatch, Lowered};
    use crate::shader::Value;
    use crate::tensor::Precision;
    use crate::variant::Choice;

    fn lowered(outs: &[usize], coop: bool, precision: Precision) -> Lowered {
        let (rows, inp, outs) = (256, 128, outs.to_vec());
        let op = Projections { rows, inp, outs };
        let mut graph = crate::graph::Graph::with_precision(precision);
        let x = graph.input("x", &[rows, inp], precision.activation());
        let w = graph.weight(
            "w",
            &[op.outs.iter().sum(), inp],
            crate::graph::Init::Constant(0.0),
        );
        let outs = graph.call(op, &[x, w]).unwrap();
        let seeds: Vec<_> = outs
            .into_iter()
            .map(|y| {
                let shape = graph.tensor(y).shape.clone();
                (y, graph.input("dy", &shape, precision.activation()))
            })
            .collect();
        graph.backward(&seeds, &[x]).unwrap();
        let caps = Caps {
            coop,
            f16: true,
            workgroup_bytes: 49_152,
            ..Caps::webgpu_default()
        };
        let lowered = lower(&graph, &caps, &Choice::default());
        check(&graph, &lowered).unwrap();
        lowered
    }

    /// In how many pieces an operand lies (`name`) of the products with these operands transposed: of y, dx or dW.
    fn pieces(lowered: &Lowered, [ta, tb]: [bool; 2], name: &str) -> Vec<Value> {
        let is_one = |d: &&Dispatch| {
            let flag = |name: &str, value: bool| d.kernel.consts.get(name) == Some(&Value::Bool(value));
            flag("TA", ta) && flag("TB", tb)
        };
        let all = lowered.dispatches.iter().filter(is_one);
        all.map(|d| d.kernel.consts.get(name).cloned().unwrap_or(Value::U32(1)))
            .collect()
    }

    #[test]
    fn matrix_units_take_all_layers_as_one() {
        let [y, dx, dw] = [[false, true], [false, false], [true, false]];
        for precision in [Precision::F32, Precision::Mixed] {
            let one = lowered(&[128, 256, 128], true, precision);
            assert_eq!(pieces(&one, y, "PIECES_C"), [Value::U32(3)]);
            assert_eq!(pieces(&one, dx, "PIECES"), [Value::U32(3)]);
            assert_eq!(pieces(&one, dw, "PIECES"), [Value::U32(3)]);
            assert_eq!(one.joined.len(), 2);
            let narrow = lowered(&[128, 256, 32, 16], true, precision);
            assert_eq!(pieces(&narrow, y, "PIECES_C"), [Value::U32(4)]);
            assert_eq!(pieces(&narrow, dx, "PIECES"), [Value::U32(4)]);
            assert_eq!(pieces(&narrow, dw, "PIECES"), [Value::U32(4)]);
            for apart in [
                lowered(&[66, 48, 64], true, precision),
                lowered(&[128, 128, 128], false, precision),
            ] {
                assert_eq!(
                    pieces(&apart, dx, "PIECES"),
                    [Value::U32(1), Value::U32(1), Value::U32(1)]
                );
                assert_eq!(
                    pieces(&apart, dw, "PIECES"),
                    [Value::U32(1), Value::U32(1), Value::U32(1)]
                );
            }
        }
        let amax = |l: &Lowered| {
            l.dispatches
                .iter()
                .filter(|d| d.kernel.path == "linear/amax")
                .count()
        };
        // x, w, and one for all gradients.
        assert_eq!(amax(&lowered(&[128, 256, 128], true, Precision::F32)), 3);
    }
}

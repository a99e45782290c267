use super::GruStep;
use super::cases::cases;
use crate::cases::Deviation;
use crate::cpu::CpuRuntime;
use crate::graph::{Graph, Output};
use crate::ops::linear::Linear;
use crate::ops::{Op, gru};
use crate::port::{OpDef, Port};
use crate::tensor::{Dtype, TensorId};
use crate::testing::{self, op_tests};

op_tests! {
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
    gpu kernels_fit_webgpu_default_limits: cases(),
}

/// A token of the recurrence from xg, `weight_hh` and `bias_hh`: the product reads the state that the cell then updates.
fn token(graph: &mut Graph, op: &GruStep, ins: &[TensorId]) -> TensorId {
    let shape = [op.b, op.d];
    let h = graph.state("h", &shape);
    let product = Linear {
        rows: op.b,
        inp: op.d,
        out: 3 * op.d,
        bias: true,
    };
    let hg = graph.call(product, &[h, ins[1], ins[2]]).unwrap()[0];
    let h_out = graph.activation("h_out", &shape, Dtype::F32);
    let out = |tensor, accumulate| Output { tensor, accumulate };
    graph
        .call_into(op.clone(), &[ins[0], hg], &[out(h_out, false), out(h, true)])
        .unwrap();
    h_out
}

#[test]
fn token_by_token_is_the_same() {
    for case in gru::cases::cases() {
        let Op::Gru(sequence) = &case.op else {
            unreachable!("the cases are of this op")
        };
        let op = GruStep::from(sequence);
        let d = op.d;
        let ports = [
            Port::activation("xg", &[op.b, 3 * d]),
            Port::f32("weight_hh", &[3 * d, d]),
            Port::f32("bias_hh", &[3 * d]),
        ];
        testing::calls_match_sequence(&case, &ports, &|graph, ins| token(graph, &op, ins));
    }
}

/// The new h, straight from the definition.
fn expected(op: &GruStep, inputs: &[Vec<f64>]) -> Vec<f64> {
    let [xg, hg, h] = inputs else {
        unreachable!("two inputs and the state")
    };
    let sigma = |x: f64| 1.0 / (1.0 + (-x).exp());
    let next = |(i, h): (usize, &f64)| {
        let at = |gate: usize| (i / op.d * 3 + gate) * op.d + i % op.d;
        let [r, z] = [0, 1].map(|gate| sigma(xg[at(gate)] + hg[at(gate)]));
        let m = (xg[at(2)] + r * hg[at(2)]).tanh();
        (1.0 - z) * m + z * h
    };
    h.iter().enumerate().map(next).collect()
}

#[test]
fn a_token_is_the_definition() {
    for case in cases() {
        let Op::GruStep(op) = &case.op else {
            unreachable!("the cases are of this op")
        };
        let want = expected(op, &testing::reals(&case));
        let got = case.run(&mut CpuRuntime::<f64>::new()).unwrap();
        assert_eq!(got.len(), 2);
        for (name, got) in &got {
            let d = Deviation::new(name, got, &want, 1e-12, 1e-12);
            assert!(d.passed(), "{}: {d:?}", case.name);
        }
    }
}

#[test]
fn refuses_what_overflows() {
    let op = |b, d| GruStep { b, d }.validate();
    assert!(op(64, 4096).is_ok());
    assert!(op(0, 4).unwrap_err().to_string().contains("b is 0"));
    assert!(op(30_000, 30_000).unwrap_err().to_string().contains("elements"));
}

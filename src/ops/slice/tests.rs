use super::Slice;
use super::cases::cases;
use crate::cases::Fill;
use crate::cpu::CpuRuntime;
use crate::graph::Graph;
use crate::port::OpDef;
use crate::runtime::{Data, Runtime};
use crate::tensor::Dtype;
#[cfg(feature = "gpu")]
use crate::testing;
use crate::testing::op_tests;

op_tests! {
    grad_matches_finite_difference: cases(),
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
    gradients_accumulate: cases(),
}

/// Three parts that overlap in one column and leave one out: outputs are the columns, the gradient is the sum of the
/// parts' gradients in their places.
fn parts_of_one_matrix(device: &str, runtime: &mut dyn Runtime) {
    let (rows, width) = (9, 8);
    let parts = [(0, 3), (2, 4), (7, 1)];
    let mut graph = Graph::new();
    let x = graph.input("x", &[rows, width], Dtype::F32);
    let mut pairs = Vec::new();
    for (from, len) in parts {
        let op = Slice {
            rows,
            width,
            from,
            len,
        };
        let y = graph.call(op, &[x]).unwrap()[0];
        graph.keep(y);
        pairs.push((y, graph.input("dy", &[rows, len], Dtype::F32)));
    }
    let grad_x = graph.backward(&pairs, &[x]).unwrap()[0];
    assert_eq!(
        graph.calls().len(),
        6,
        "the gradient needs no call but the op's own"
    );
    let program = runtime.load(&graph).unwrap();
    runtime.poison(program).unwrap();
    let values = Fill::new(1).normal(rows * width);
    runtime.write(program, x, Data::F32(&values)).unwrap();
    let mut want = vec![0.0; rows * width];
    for (i, ((from, len), (_, grad_y))) in parts.into_iter().zip(&pairs).enumerate() {
        let seed = Fill::new(10 + i as u64).normal(rows * len);
        runtime.write(program, *grad_y, Data::F32(&seed)).unwrap();
        for (k, s) in seed.iter().enumerate() {
            want[k / len * width + from + k % len] += f64::from(*s);
        }
    }
    runtime.run(program, &crate::step::StepParams::eval(1)).unwrap();
    for ((from, len), (y, _)) in parts.into_iter().zip(&pairs) {
        let got = runtime.read(program, *y).unwrap();
        for (k, y) in got.iter().enumerate() {
            assert_eq!(
                *y,
                f64::from(values[k / len * width + from + k % len]),
                "{device}"
            );
        }
    }
    for (got, want) in runtime.read(program, grad_x).unwrap().iter().zip(&want) {
        assert!((got - want).abs() < 1e-6, "{device}: {got} {want}");
    }
}

#[test]
fn parts_fill_one_gradient() {
    parts_of_one_matrix("CPU f32", &mut CpuRuntime::<f32>::new());
    #[cfg(feature = "gpu")]
    testing::gpu::each_device(parts_of_one_matrix);
}

#[test]
fn refuses_columns_outside_the_row() {
    let slice = |from, len| Slice {
        rows: 2,
        width: 8,
        from,
        len,
    };
    assert!(slice(0, 8).validate().is_ok() && slice(7, 1).validate().is_ok());
    for (from, len) in [(0, 9), (7, 2), (9, 1), (0, 0), (usize::MAX, 2)] {
        assert!(slice(from, len).validate().is_err(), "{from} {len}");
    }
}

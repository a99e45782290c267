use super::Content;
use super::cases::cases;
use crate::cases::Values;
use crate::cpu::CpuRuntime;
use crate::testing::op_tests;

op_tests! {
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
}

#[test]
fn elements_are_what_they_should_be() {
    for case in cases() {
        assert_eq!(case.inputs, Vec::<Values>::new());
        let outputs = case.run(&mut CpuRuntime::<f64>::new()).unwrap();
        let crate::ops::Op::Fill(op) = &case.op else {
            unreachable!("cases of this op")
        };
        assert_eq!(outputs.len(), 1);
        assert_eq!(outputs[0].1.len(), op.numel);
        for (i, y) in outputs[0].1.iter().enumerate() {
            match op.content {
                Content::Constant(value) => assert_eq!(*y, f64::from(value)),
                Content::Retention(heads) => {
                    let gamma = 1.0 - 2f64.powi(-5 - (i % heads) as i32);
                    assert!((y.exp() - gamma).abs() < 1e-15, "{i}");
                }
            }
        }
    }
}

use super::cases::cases;
use super::{Part, Spread};
use crate::cases::Case;
use crate::cpu::CpuRuntime;
use crate::testing::op_tests;

op_tests! {
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
}

const NONE: f64 = u32::MAX as f64;

#[test]
fn windows_have_their_value() {
    let windows = vec![0, 2, 2, 1, 3, 3, 0, 1, 1, 0, 1, 0];
    let spread = |part| {
        let op = Spread {
            b: 2,
            t: 7,
            e: 3,
            part,
        };
        let inputs = vec![windows.clone().into(), vec![7, 8, 9, 4, 5, 6].into()];
        let case = Case::new(String::new(), op, inputs);
        case.run(&mut CpuRuntime::<f64>::new()).unwrap().remove(0).1
    };
    let n = NONE;
    assert_eq!(
        spread(Part::Whole),
        [7., 7., 8., 9., 9., 9., n, 4., n, n, n, n, n, n]
    );
    assert_eq!(
        spread(Part::First),
        [7., n, 8., 9., n, n, n, 4., n, n, n, n, n, n]
    );
}

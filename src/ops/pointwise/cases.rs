//! Hostile shapes and values of the op, for its tests and for `check`.

use super::{Function, Pointwise};
use crate::cases::Fill;
use crate::cases::bench::{Bench, D, Family, HEADS, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

const FUNCTIONS: [Function; 5] = [
    Function::Sigmoid,
    Function::LogSigmoid,
    Function::Silu,
    Function::Complement,
    Function::Softplus,
];

/// Sizes around the workgroup, both tails, and arguments where the function saturates.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for function in FUNCTIONS {
        let mut case = |name: &str, scale: f32, x: Vec<f32>| {
            let op = Pointwise {
                numel: x.len(),
                function,
                scale,
                // None in the tails, whose digits it would hide.
                offset: scale - 1.0,
            };
            cases.push(Case::new(format!("{function:?} {name}"), op, vec![x.into()]));
        };
        let log_decay = function == Function::Complement;
        let top = if log_decay { 0.0 } else { 6.0 };
        for (n, scale) in [(1, 1.0), (255, 0.0625), (257, 2.0), (70_000, 1.0)] {
            case(&format!("n{n}"), scale, Fill::new(n as u64).uniform(n, -6.0, top));
        }
        // Differences of 1 - e^x say nothing where e^x is below the rounding of 1.
        let (lo, hi) = if log_decay { (-12.0, -5.0) } else { (-80.0, -20.0) };
        case("lower tail", 1.0, Fill::new(3).uniform(300, lo, hi));
        if log_decay {
            case("near 0", 1.0, Fill::new(3).uniform(300, -0.2, 0.0));
            case("at 0", 1.0, Fill::new(3).uniform(300, -1e-6, 0.0));
            case("saturated", 1.0, vec![-1e4, -90.0, -20.0, -0.0, 0.0]);
        } else {
            case("upper tail", 1.0, Fill::new(3).uniform(300, 5.0, 12.0));
            case(
                "saturated",
                0.0625,
                vec![-1e4, -90.0, -20.0, 0.0, 20.0, 90.0, 1e4],
            );
        }
    }
    cases
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let of = |name: &str, numel, function, scale| {
        let op = Pointwise {
            numel,
            function,
            scale,
            offset: 0.0,
        };
        Bench::new(Family::Elementwise, format!("{name} {numel}"), op)
    };
    let rows = scale.rows();
    vec![
        of("sigmoid", rows * HEADS, Function::Sigmoid, 1.0),
        of("log_sigmoid", rows * D, Function::LogSigmoid, 0.0625),
    ]
}

/// The model fixtures hold it.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

//! What the tests of the chunkwise recurrences share: the comparison with an oracle that goes token by token.

use crate::cases::Case;
use crate::ops::Op;
use crate::testing;

/// Cases with fewer than `numel` numbers: small enough for finite differences.
pub(crate) fn tiny(cases: Vec<Case>, numel: usize) -> Vec<Case> {
    let count = |case: &Case| -> usize {
        let ports = case.op.inputs();
        ports.iter().map(|p| p.shape.iter().product::<usize>()).sum()
    };
    cases.into_iter().filter(|case| count(case) < numel).collect()
}

/// What a recurrence token by token gives, in f64: the first output and the gradients of the inputs.
pub(crate) struct Oracle {
    pub(crate) o: Vec<f64>,
    pub(crate) grads: Vec<Vec<f64>>,
}

/// At every chunk length the f64 twin gives what `head`, called for each (b, h) of `heads`, leaves in an oracle of
/// zeros, given the inputs and the gradient of the first output.
pub(crate) fn every_chunk_matches(
    case: &Case,
    heads: (usize, usize),
    own: usize,
    with_chunk: &dyn Fn(usize) -> Op,
    head: impl Fn(&mut Oracle, &[Vec<f64>], &[f64], usize, usize),
    allowed: f64,
) {
    let (inputs, grad_o) = (testing::reals(case), testing::output_gradient(&case.op));
    let mut oracle = Oracle {
        o: vec![0.0; grad_o.len()],
        grads: inputs.iter().map(|x| vec![0.0; x.len()]).collect(),
    };
    for b in 0..heads.0 {
        for h in 0..heads.1 {
            head(&mut oracle, &inputs, &grad_o, b, h);
        }
    }
    let want: Vec<&Vec<f64>> = [&oracle.o].into_iter().chain(&oracle.grads).collect();
    testing::every_chunk_gives(case, own, with_chunk, &want, allowed);
}

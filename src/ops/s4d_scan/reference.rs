//! The recurrence as it is defined, token by token, with the plain formulas of its factors: what the twin is held against.

use super::S4dScan;

type Complex = (f64, f64);

fn product(a: Complex, b: Complex) -> Complex {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

fn quotient(a: Complex, b: Complex) -> Complex {
    let (re, im) = product(a, (b.0, -b.1));
    let size = b.0 * b.0 + b.1 * b.1;
    (re / size, im / size)
}

/// y in f64, of the inputs in port order.
pub(super) fn outputs(op: &S4dScan, inputs: &[Vec<f64>]) -> Vec<f64> {
    let [u, log_dt, c, log_a, a_imag, skip] = inputs else {
        unreachable!("six inputs")
    };
    let (channels, n) = (op.channels, op.states);
    let mut y = vec![0.0; u.len()];
    for (b, channel) in (0..op.b).flat_map(|b| (0..channels).map(move |c| (b, c))) {
        let dt = log_dt[channel].exp();
        let at = |t: usize| (b * op.t + t) * channels + channel;
        (0..op.t).for_each(|t| y[at(t)] = skip[channel] * u[at(t)]);
        for j in channel * n..(channel + 1) * n {
            let a = (-log_a[j].exp(), a_imag[j]);
            let size = (dt * a.0).exp();
            let decay = (size * (dt * a.1).cos(), size * (dt * a.1).sin());
            let read = product((c[2 * j], c[2 * j + 1]), quotient((decay.0 - 1.0, decay.1), a));
            let mut h = (0.0, 0.0);
            for t in 0..op.t {
                h = product(decay, h);
                h.0 += u[at(t)];
                y[at(t)] += 2.0 * product(read, h).0;
            }
        }
    }
    y
}

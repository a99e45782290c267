//! The scan as it is defined, token by token: what the twin is held against.

use super::SelectiveScan;
use crate::port::OpDef;
use crate::twin::Real;

/// y in f64, of the inputs in port order.
pub(super) fn outputs(op: &SelectiveScan, inputs: &[Vec<f64>]) -> Vec<f64> {
    let ports = op.inputs();
    let input = |name| ports.iter().position(|p| p.name == name).map(|i| &inputs[i]);
    let there = |name| input(name).expect("every scan reads it");
    let (u, bm, cm, skip) = (there("u"), there("Bm"), there("Cm"), there("D"));
    let (z, a_log) = (input("z"), input("A_log"));
    let dt = input("delta_raw").zip(input("delta_bias"));
    let (e, n) = (op.channels, op.states);
    let mut y = vec![0.0; op.b * op.t * e];
    for (b, c) in (0..op.b).flat_map(|b| (0..e).map(move |c| (b, c))) {
        let mut h = vec![0.0; n];
        for t in 0..op.t {
            let (token, at) = (b * op.t + t, (b * op.t + t) * e + c);
            let dt = dt.map_or(1.0, |(raw, bias)| (raw[at] + bias[c]).softplus());
            let written = if op.tied { dt * u[at] } else { u[at] };
            for (j, h) in h.iter_mut().enumerate() {
                let a = a_log.map_or(0.0, |a_log| -a_log[c * n + j].exp());
                *h = (dt * a).exp() * *h + written * bm[token * n + j];
            }
            let read: f64 = h.iter().zip(&cm[token * n..]).map(|(h, c)| h * c).sum();
            y[at] = (read + skip[c] * u[at]) * z.map_or(1.0, |z| z[at].silu());
        }
    }
    y
}

// x Phi(x) with the distribution function Phi of the normal distribution: gelu in its exact form. Imports lib/activation.
#import lib/activation

// Phi(x), and the density. Phi(-|x|) = e^(-x^2 / 2) t P(t), t = 1 / (1 + 0.35 |x|), P a polynomial through the Chebyshev
// nodes of |x| <= 14: relative error 4e-8 before rounding, so both tails keep their digits.
fn normal(x: f32) -> vec2<f32> {
    let half = 0.5 * x * x;
    let bell = select(0.0, exp_wide(-min(half, 87.0)), half < 87.0);
    let t = 1.0 / (1.0 + 0.35 * abs(x));
    var p = fma(t, -0.029679522, 0.14654583);
    p = fma(t, p, -0.26096123);
    p = fma(t, p, 0.165051);
    p = fma(t, p, -0.027046608);
    p = fma(t, p, 0.107114588);
    p = fma(t, p, 0.119444917);
    p = fma(t, p, 0.139912298);
    p = fma(t, p, 0.139618713);
    let tail = bell * t * p;
    return vec2(select(tail, 1.0 - tail, x >= 0.0), 0.39894228 * bell);
}

fn gelu(x: f32) -> f32 {
    return x * normal(x).x;
}

fn gelu_slope(x: f32) -> f32 {
    let n = normal(x);
    return fma(x, n.y, n.x);
}

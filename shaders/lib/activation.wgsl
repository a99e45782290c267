// Pointwise functions. The exponents are never positive where the result could overflow before it is bounded.
fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + exp(-max(x, -87.0)));
}

fn silu(x: f32) -> f32 {
    return x * sigmoid(x);
}

fn d_silu(x: f32) -> f32 {
    let s = sigmoid(x);
    return s * (1.0 + x * (1.0 - s));
}

// ln(1 + e^x) = max(x, 0) + ln(1 + e), e = exp(-|x|). The logarithm of a number near 1 loses the low digits of e (WGSL
// allows 2^-21 of error there), so it is 2 artanh(e / (2 + e)): an argument of at most 1/3, a series to 2e-9 of it.
fn softplus(x: f32) -> f32 {
    let e = exp(-abs(x));
    let s = e / (2.0 + e);
    let z = s * s;
    var series = fma(z, 0.06666667, 0.07692308);
    series = fma(z, series, 0.09090909);
    series = fma(z, series, 0.11111111);
    series = fma(z, series, 0.14285715);
    series = fma(z, series, 0.2);
    series = fma(z, series, 0.33333334);
    return max(x, 0.0) + 2.0 * fma(s, z * series, s);
}

// Pointwise functions. The exponents are never positive where the result could overflow before it is bounded.

// e^x for |x| <= 87. Drivers form exp(x) as exp2(x log2 e), whose relative error grows to 5e-6 at x = 87: split off
// the whole powers of two first (ln 2 = 0.693359375 - 2.12194440e-4, the first part exact in 10 bits).
fn exp_wide(x: f32) -> f32 {
    let n = round(x * 1.442695041);
    let r = (x - n * 0.693359375) + n * 2.12194440e-4;
    return exp2(n) * exp2(r * 1.442695041);
}

fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + exp_wide(-clamp(x, -87.0, 87.0)));
}

fn silu(x: f32) -> f32 {
    return x * sigmoid(x);
}

fn d_silu(x: f32) -> f32 {
    let s = sigmoid(x);
    return s * (1.0 + x * (1.0 - s));
}

// ln(1 + e^x). For small e = exp(-|x|) the series of ln(1 + e) replaces log(1 + e), which would lose e's low digits.
fn softplus(x: f32) -> f32 {
    let e = exp_wide(-min(abs(x), 87.0));
    let series = e * (1.0 - e * (0.5 - e * (0.33333334 - e * (0.25 - e * 0.2))));
    return max(x, 0.0) + select(log(1.0 + e), series, e < 0.03);
}

// sigmoid(x) from y = softplus(x) >= 0: 1 - e^-y, by its series where the difference would lose digits.
fn sigmoid_of_softplus(y: f32) -> f32 {
    let series = y * (1.0 - y * (0.5 - y * (0.16666667 - y * (0.041666668 - y * 0.008333334))));
    return select(1.0 - exp(-y), series, y < 0.1);
}

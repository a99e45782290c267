// Pointwise functions. The exponents are never positive where the result could overflow before it is bounded.
const ROUNDED: bool = false; // results are rounded to f16: e^x as the driver has it

// e^x for |x| <= 87. Drivers form exp(x) as exp2(x log2 e), whose relative error grows to 5e-6 at x = 87: split off
// the whole powers of two first (ln 2 = 0.693359375 - 2.12194440e-4, the first part exact in 10 bits).
fn exp_wide(x: f32) -> f32 {
#if ROUNDED
    return exp(x);
#else
    let n = round(x * 1.442695041);
    let r = (x - n * 0.693359375) + n * 2.12194440e-4;
    return exp2(n) * exp2(r * 1.442695041);
#endif
}

fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + exp_wide(-clamp(x, -87.0, 87.0)));
}

fn silu(x: f32) -> f32 {
    return x * sigmoid(x);
}

fn silu_slope(x: f32) -> f32 {
    let s = sigmoid(x);
    return s * (1.0 + x * (1.0 - s));
}

// ln(1 + e^x) = max(x, 0) + ln(1 + e), e = exp(-|x|). The logarithm of a number near 1 loses the low digits of e (WGSL
// allows 2^-21 of error there), so it is 2 artanh(e / (2 + e)): an argument of at most 1/3, a series to 2e-9 of it.
fn softplus(x: f32) -> f32 {
    let e = exp_wide(-min(abs(x), 87.0));
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

// 1 - e^-y for y >= 0, by its series where the difference would lose digits. Of y = softplus(x) it is sigmoid(x).
fn complement(y: f32) -> f32 {
    let series = y * (1.0 - y * (0.5 - y * (0.16666667 - y * (0.041666668 - y * 0.008333334))));
    return select(1.0 - exp_wide(-min(y, 87.0)), series, y < 0.1);
}

// (sigma(x), sigma(-x)): the second is 1 minus the first, with digits of its own.
fn sigmoids(x: f32) -> vec2<f32> {
    let e = exp_wide(-min(abs(x), 87.0));
    let large = 1.0 / (1.0 + e);
    return select(vec2(e * large, large), vec2(large, e * large), x >= 0.0);
}

// (tanh x, 1 - tanh^2 x): by exponentials, or the series of tanh where their difference loses digits.
fn tanh_slope(x: f32) -> vec2<f32> {
    let e = exp_wide(-min(2.0 * abs(x), 87.0));
    let inv = 1.0 / (1.0 + e);
    let large = select(-1.0, 1.0, x >= 0.0) * (1.0 - e) * inv;
    let z = x * x;
    var series = fma(z, 0.021869488, -0.053968254);
    series = fma(z, series, 0.13333333);
    series = fma(z, series, -0.33333334);
    return vec2(select(large, fma(x * z, series, x), z < 0.0625), 4.0 * e * inv * inv);
}

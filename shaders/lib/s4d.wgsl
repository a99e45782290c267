// Discretisation of the diagonal states of S4D, with care for angles of many turns: the functions of WGSL may be wrong
// by 2^-11 there. Numbers of more digits than an f32 has are kept as a head of 12 bits, so that products of heads are
// exact, and the rest. Heads are cut off with a mask: a compiler may cancel sums, but not that.

fn head(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) & 0xfffff000u);
}

// x itself: the sum of its head and of what is left, which has 12 bits too. Where a compiler may reorder sums (fast math,
// as Metal has it), what x was made of stays apart from what is added to it.
fn apart(x: f32) -> f32 {
    let high = head(x);
    return high + head(x - high);
}

// e^x as head and rest, to 1e-8; x is taken into [-87, 87].
fn exp_parts(exponent: f32) -> vec2<f32> {
    let x = clamp(exponent, -87.0, 87.0);
    let n = round(x * 1.442695041);
    // ln 2 = 0.693359375 - 2.12194440e-4, the first part exact in 10 bits.
    let above = apart(x - n * 0.693359375);
    let below = n * 2.12194440e-4;
    let r_head = head(above + below);
    let r_rest = apart(above - r_head) + below;
    let r = above + below;
    var series = fma(r, 1.9841270e-4, 1.3888889e-3);
    series = fma(r, series, 8.3333333e-3);
    series = fma(r, series, 4.1666667e-2);
    series = fma(r, series, 0.16666667);
    series = r * r * fma(r, series, 0.5);
    let sum = head((1.0 + r_head) + series);
    let rest = apart((1.0 - sum) + r_head) + (r_rest + series);
    let power = bitcast<f32>(u32(i32(n) + 127) << 23u);
    return power * vec2(sum, rest);
}

// (e^x - 1, e^x) for x <= 0.
fn shrinking(x: f32) -> vec2<f32> {
    var series = fma(x, 0.125, 1.0);
    series = fma(x * 0.14285714, series, 1.0);
    series = fma(x * 0.16666667, series, 1.0);
    series = fma(x * 0.2, series, 1.0);
    series = fma(x * 0.25, series, 1.0);
    series = fma(x * 0.33333333, series, 1.0);
    series = fma(x * 0.5, series, 1.0);
    let parts = exp_parts(x);
    let power = select(parts.x + parts.y, 0.0, x < -87.0);
    return vec2(select(power - 1.0, x * series, x > -0.35), power);
}

// Angles as pairs: cos - 1 and sin, each the sum of two numbers.
struct Turn { cos_high: f32, cos_low: f32, sin_high: f32, sin_low: f32 }

// Of `high` + `low`, |low| much smaller than |high| <= 6000: less the multiple k of pi/2 that is nearest, pi/2 in three
// parts whose products with k are exact but for the last. To 1e-8.
fn turn(high: f32, low: f32) -> Turn {
    let k = round((high + low) * 0.63661977);
    let above = apart(high - k * 1.5703125);
    let below = apart(k * 4.837512969970703e-4);
    let rest = low - k * 7.549789954891882e-8;
    let y_high = head((above - below) + rest);
    let y_low = apart(apart(above - y_high) - below) + rest;
    let y = y_high + y_low;
    let z = y * y;
    var c = fma(z, -2.7557319e-7, 2.4801587e-5);
    c = fma(z, c, -1.3888889e-3);
    c = fma(z, c, 4.1666667e-2);
    // -y^2 / 2, whose high part is exact, and the rest of the series.
    let c_high = -0.5 * y_high * y_high;
    let c_low = fma(z * z, c, -0.5 * (y + y_high) * y_low);
    var s = fma(z, 2.7557319e-6, -1.9841270e-4);
    s = fma(z, s, 8.3333333e-3);
    s = fma(z, s, -0.16666667);
    let s_low = fma(y * z, s, y_low);
    let quadrant = i32(k) & 3;
    if quadrant == 0 {
        return Turn(c_high, c_low, y_high, s_low);
    }
    if quadrant == 1 {
        return Turn(-1.0 - y_high, -s_low, 1.0, c_high + c_low);
    }
    if quadrant == 2 {
        return Turn(-2.0, -c_high - c_low, -y_high, -s_low);
    }
    return Turn(y_high - 1.0, s_low, -1.0, -c_high - c_low);
}

fn times(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    return vec2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}

fn over(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    return vec2(a.x * b.x + a.y * b.y, a.y * b.x - a.x * b.y) / dot(b, b);
}

struct Rate {
    dt: f32,
    a: vec2<f32>, // A
    z: vec2<f32>, // dt A
    e: vec2<f32>, // e^z - 1: near z = 0 it has the digits that e^z has not
    power: vec2<f32>, // e^z
    phi: vec2<f32>, // (e^z - 1) / z, 1 at z = 0
    turn: Turn, // of Im z
    shrink: f32, // e^(Re z) - 1
}

fn discretised(log_dt: f32, log_a_real: f32, a_imag: f32) -> Rate {
    let dt_parts = exp_parts(log_dt);
    let dt = dt_parts.x + dt_parts.y;
    let a_parts = exp_parts(log_a_real);
    let a_real = -(a_parts.x + a_parts.y);
    let real = dt * a_real;
    let imag_head = head(a_imag);
    let angle = imag_head * dt_parts.x;
    let angle_rest = (a_imag - imag_head) * dt_parts.x + a_imag * dt_parts.y;
    let circle = turn(angle, angle_rest);
    let shrink = shrinking(real);
    let versine = circle.cos_high + circle.cos_low;
    let sine = circle.sin_high + circle.sin_low;
    let e = vec2(shrink.x * (1.0 + versine) + versine, shrink.y * sine);
    let power = shrink.y * vec2(1.0 + versine, sine);
    let z = vec2(real, angle + angle_rest);
    let is_small = dot(z, z) < 1e-12;
    let phi = select(over(e, select(z, vec2(1.0, 0.0), is_small)), vec2(1.0, 0.0) + 0.5 * z, is_small);
    return Rate(dt, vec2(a_real, a_imag), z, e, power, phi, circle, shrink.x);
}

// What e^z - `less` has and `f`, which is close to it, has not; `less` is 0 or 1. e^z is
// 1 + e^(Re z) - 1 + cos - 1 + (e^(Re z) - 1) (cos - 1 + i sin) + i sin. Large numbers go first: their differences are
// exact.
fn lost(rate: Rate, f: vec2<f32>, less: f32) -> vec2<f32> {
    let c = rate.turn.cos_high + rate.turn.cos_low;
    let s = rate.turn.sin_high + rate.turn.sin_low;
    let real = apart(((1.0 - less) + rate.turn.cos_high) - f.x) + rate.shrink;
    return vec2(
        apart(real) + (rate.turn.cos_low + rate.shrink * c),
        apart(rate.turn.sin_high - f.y) + (rate.turn.sin_low + rate.shrink * s),
    );
}

// Derivative of phi: (e^z - phi) / z, or its series sum over k of z^k (k + 1) / (k + 2)! where that difference cancels.
fn phi_slope(rate: Rate) -> vec2<f32> {
    let z = rate.z;
    if dot(z, z) > 0.25 {
        return over(rate.power - rate.phi, z);
    }
    let one = vec2(1.0, 0.0);
    var series = times(z, vec2(2.4801587e-6, 0.0)) + 2.2045855e-5 * one;
    series = times(z, series) + 1.7361111e-4 * one;
    series = times(z, series) + 1.1904762e-3 * one;
    series = times(z, series) + 6.9444444e-3 * one;
    series = times(z, series) + 3.3333333e-2 * one;
    series = times(z, series) + 0.125 * one;
    series = times(z, series) + 0.33333333 * one;
    return times(z, series) + 0.5 * one;
}

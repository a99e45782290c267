// States of S4D and what they are multiplied by, four at a time, on the threads of lib/lanes. The importing kernel has a
// binding `planes`, as s4d_discretise makes it: [7, d, QUADS], of f (real and imaginary), keep, 2 Ct and drift.
#import lib/lanes

struct Complex4 { re: vec4<f32>, im: vec4<f32> }

fn plus(a: Complex4, b: Complex4) -> Complex4 {
    return Complex4(a.re + b.re, a.im + b.im);
}

fn scaled(a: f32, b: Complex4) -> Complex4 {
    return Complex4(a * b.re, a * b.im);
}

fn product(a: Complex4, b: Complex4) -> Complex4 {
    return Complex4(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re);
}

// Quad k of the thread's channel in a plane.
fn quad_at(k: u32) -> u32 {
    return channel(own) * QUADS + k * LANES + lane;
}

// Quad `at` of planes i and i + 1.
fn complex_at(i: u32, at: u32) -> Complex4 {
    let plane = params.channels * QUADS;
    return Complex4(planes[i * plane + at], planes[(i + 1u) * plane + at]);
}

// e^z = keep + f.
struct Rate { f: Complex4, keep: vec4<f32> }

fn rate_at(at: u32) -> Rate {
    return Rate(complex_at(0u, at), planes[2u * params.channels * QUADS + at]);
}

fn output_weight_at(at: u32) -> Complex4 {
    return complex_at(3u, at);
}

// e^z x.
fn decayed(rate: Rate, x: Complex4) -> Complex4 {
    let change = product(rate.f, x);
    return Complex4(rate.keep * x.re + change.re, rate.keep * x.im + change.im);
}

// The state after h: e^z h + u.
fn next_state(rate: Rate, h: Complex4, u: f32) -> Complex4 {
    let change = product(rate.f, h);
    return Complex4(rate.keep * h.re + (change.re + u), rate.keep * h.im + change.im);
}

// x with what rounding f took from it in STAGED steps.
fn restored(x: Complex4, at: u32) -> Complex4 {
    return plus(x, product(scaled(f32(STAGED), complex_at(5u, at)), x));
}

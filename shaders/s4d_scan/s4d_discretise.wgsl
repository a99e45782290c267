// What the scan multiplies by, of each state of each channel, in planes: f real and imaginary, keep, 2 Ct = 2 C dt phi(z)
// real and imaginary, and drift. e^z = keep + f: where it is close to 1, keep is 1 and f = e^z - 1, which has the digits
// that e^z has not; elsewhere keep is 0. Drift is what rounding f takes from a state each step, as a part of it, which
// the scan gives back after some steps. States past N / 2, which fill the last quads, get zeros.
// A thread a state; grid: ops::grid_1d over ceil(d padded / 256). Source: models.md 4.13.
#import lib/grid
#import lib/s4d

struct Params { n: u32, states: u32, padded: u32 }

@group(0) @binding(0) var<storage, read_write> log_dt: array<f32>; // [d]
@group(0) @binding(1) var<storage, read_write> c: array<f32>; // [d, N / 2, 2]
@group(0) @binding(2) var<storage, read_write> log_a_real: array<f32>; // [d, N / 2]
@group(0) @binding(3) var<storage, read_write> a_imag: array<f32>; // [d, N / 2]
@group(0) @binding(4) var<storage, read_write> planes: array<f32>; // [7, d, padded]
@group(0) @binding(5) var<uniform> params: Params; // n = d padded

// A compiler may not take the difference of this and what it is made of for 0.
fn cut(x: vec2<f32>) -> vec2<f32> {
    return bitcast<vec2<f32>>(bitcast<vec2<u32>>(x) & vec2(0xfffffffeu));
}

@compute @workgroup_size(256)
fn s4d_discretise(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(wg, count) * 256u + thread;
    if i >= params.n {
        return;
    }
    let channel = i / params.padded;
    let state = i % params.padded;
    var f = vec2(0.0);
    var keep = 0.0;
    var ct = vec2(0.0);
    var drift = vec2(0.0);
    if state < params.states {
        let at = channel * params.states + state;
        let rate = discretised(log_dt[channel], log_a_real[at], a_imag[at]);
        let is_close = dot(rate.e, rate.e) < 0.25;
        f = cut(select(rate.power, rate.e, is_close));
        keep = select(0.0, 1.0, is_close);
        // States that remember more than a few steps.
        if dot(rate.power, rate.power) > 0.25 {
            drift = over(lost(rate, f, keep), rate.power);
        }
        ct = 2.0 * rate.dt * times(vec2(c[2u * at], c[2u * at + 1u]), rate.phi);
    }
    planes[i] = f.x;
    planes[params.n + i] = f.y;
    planes[2u * params.n + i] = keep;
    planes[3u * params.n + i] = ct.x;
    planes[4u * params.n + i] = ct.y;
    planes[5u * params.n + i] = drift.x;
    planes[6u * params.n + i] = drift.y;
}

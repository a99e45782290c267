// Gradients of C, log_A_real, A_imag and log_dt from the sums W0 and W1 of s4d_sums_bwd, whose slots are added in order.
// With gz = 2 W0 C dt phi'(z) + 2 Ct W1 and g = dt gz:
//   dC = (Re, -Im) of 2 W0 dt phi, dlog_A_real = Re A Re g, dA_imag = -Im g, dlog_dt = sum over states of
//   Re(2 W0 C dt e^z + 2 Ct W1 z).
// A workgroup a channel, a thread a state; grid: ops::grid_1d over d. Source: models.md 4.13.
#import lib/grid
#import lib/s4d

struct Params { channels: u32, states: u32, slots: u32, log_a_at: u32, imag_at: u32, dt_at: u32 }

@group(0) @binding(0) var<storage, read_write> log_dt: array<f32>; // [d]
@group(0) @binding(1) var<storage, read_write> c: array<f32>; // [d, N / 2, 2]
@group(0) @binding(2) var<storage, read_write> log_a_real: array<f32>; // [d, N / 2]
@group(0) @binding(3) var<storage, read_write> a_imag: array<f32>; // [d, N / 2]
@group(0) @binding(4) var<storage, read_write> sums: array<f32>; // [slots, 4, d, N / 2]
@group(0) @binding(5) var<storage, read_write> grads: array<f32>; // dC [d, N / 2, 2], then, at *_at, the others
@group(0) @binding(6) var<uniform> params: Params;

var<workgroup> terms: array<f32, 128>;

@compute @workgroup_size(128)
fn s4d_params_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let channel = workgroup_index(wg, count);
    if channel >= params.channels {
        return;
    }
    let matrix = params.channels * params.states;
    var term = 0.0;
    if thread < params.states {
        let at = channel * params.states + thread;
        var w0 = vec2(0.0);
        var w1 = vec2(0.0);
        for (var slot = 0u; slot < params.slots; slot++) {
            let from_sums = slot * 4u * matrix + at;
            w0 += vec2(sums[from_sums], sums[from_sums + matrix]);
            w1 += vec2(sums[from_sums + 2u * matrix], sums[from_sums + 3u * matrix]);
        }
        let rate = discretised(log_dt[channel], log_a_real[at], a_imag[at]);
        let weight = 2.0 * rate.dt * vec2(c[2u * at], c[2u * at + 1u]);
        let read = times(weight, w0);
        let kept = times(times(weight, rate.phi), w1);
        let grad_c = 2.0 * rate.dt * times(w0, rate.phi);
        let g = rate.dt * (times(read, phi_slope(rate)) + kept);
        grads[2u * at] = grad_c.x;
        grads[2u * at + 1u] = -grad_c.y;
        grads[params.log_a_at + at] = rate.a.x * g.x;
        grads[params.imag_at + at] = -g.y;
        term = (times(read, rate.power) + times(kept, rate.z)).x;
    }
    terms[thread] = term;
    workgroupBarrier();
    for (var span = 64u; span > 0u; span /= 2u) {
        if thread < span {
            terms[thread] += terms[thread + span];
        }
        workgroupBarrier();
    }
    if thread == 0u {
        grads[params.dt_at + channel] = terms[0];
    }
}

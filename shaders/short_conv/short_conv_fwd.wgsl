// y_t = silu(sum_j w_j x_{t-3+j} (+ b)). A thread does one channel over RUN steps of a sequence, with the last inputs
// in registers; neighbours do neighbouring channels. Grid: ops::grid_1d over ceil(units channels / 256), a unit being
// RUN steps of one sequence.
#import lib/grid
#import lib/activation

const BIAS: bool = false;
const RUN: u32 = 16;

alias t_x = f32;
alias t_y = f32;

struct Params { units: u32, blocks: u32, t: u32, channels: u32, parts: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<t_x>; // [B, T, channels]
@group(0) @binding(1) var<storage, read_write> w: array<vec4<f32>>; // [channels] of 4 taps, the last on the current step
#if BIAS
@group(0) @binding(2) var<storage, read_write> b: array<f32>; // [channels]
#endif
@group(0) @binding(3) var<storage, read_write> y: array<t_y>; // [B, T, channels]
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(256)
fn short_conv_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let item = workgroup_index(wg, count) * 256u + thread;
    if item >= params.units * params.channels {
        return;
    }
    let c = item % params.channels;
    let unit = item / params.channels;
    let begin = unit % params.blocks * RUN;
    let end = min(begin + RUN, params.t);
    var at = (unit / params.blocks * params.t + begin) * params.channels + c;
    var past = vec3(0.0); // x_{t-3}, x_{t-2}, x_{t-1}
    if begin > 0u {
        past = vec3(
            f32(x[at - 3u * params.channels]),
            f32(x[at - 2u * params.channels]),
            f32(x[at - params.channels]),
        );
    }
    let taps = w[c];
    var bias = 0.0;
#if BIAS
    bias = b[c];
#endif
    for (var t = begin; t < end; t++) {
        let now = f32(x[at]);
        y[at] = t_y(silu(dot(taps, vec4(past, now)) + bias));
        past = vec3(past.yz, now);
        at += params.channels;
    }
}

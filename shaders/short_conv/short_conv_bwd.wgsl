// With dpre_t = dy_t silu'(pre_t): dx_t = sum_j w_j dpre_{t+3-j}, and partial sums of dw_j = sum dpre_t x_{t-3+j} and
// db = sum dpre_t. Thread (part p, channel) does the units p, p + parts, .. (RUN steps of one sequence each) and runs
// three steps past a unit's end, since dx_t needs dpre up to t + 3. Grid: ops::grid_1d over ceil(parts channels / 256).
#import lib/grid
#import lib/activation

const BIAS: bool = false;
const RUN: u32 = 32;

alias t_x = f32;
alias t_grad_y = f32;
alias t_grad_x = f32;

struct Params { units: u32, blocks: u32, t: u32, channels: u32, parts: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<t_x>; // [B, T, channels]
@group(0) @binding(1) var<storage, read_write> w: array<vec4<f32>>; // [channels] of 4 taps
@group(0) @binding(2) var<storage, read_write> grad_y: array<t_grad_y>; // [B, T, channels]
@group(0) @binding(3) var<storage, read_write> grad_x: array<t_grad_x>; // [B, T, channels]
@group(0) @binding(4) var<storage, read_write> grad_w: array<vec4<f32>>; // [parts, channels] of 4 taps
#if BIAS
@group(0) @binding(5) var<storage, read_write> b: array<f32>; // [channels]
@group(0) @binding(6) var<storage, read_write> grad_b: array<f32>; // [parts, channels]
#endif
@group(0) @binding(7) var<uniform> params: Params;

@compute @workgroup_size(256)
fn short_conv_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let item = workgroup_index(wg, count) * 256u + thread;
    if item >= params.parts * params.channels {
        return;
    }
    let c = item % params.channels;
    let stride = params.channels;
    let taps = w[c];
    var bias = 0.0;
#if BIAS
    bias = b[c];
#endif
    var grad_w_sum = vec4(0.0);
    var grad_b_sum = 0.0;
    for (var unit = item / params.channels; unit < params.units; unit += params.parts) {
        let begin = unit % params.blocks * RUN;
        let end = min(begin + RUN, params.t);
        var at = (unit / params.blocks * params.t + begin) * stride + c;
        var past = vec3(0.0); // x_{t-3}, x_{t-2}, x_{t-1}
        if begin > 0u {
            past = vec3(f32(x[at - 3u * stride]), f32(x[at - 2u * stride]), f32(x[at - stride]));
        }
        var grad_past = vec3(0.0); // dpre_{t-3}, dpre_{t-2}, dpre_{t-1}
        for (var t = begin; t < end + 3u; t++) {
            var grad_now = 0.0;
            if t < params.t {
                let window = vec4(past, f32(x[at]));
                grad_now = f32(grad_y[at]) * silu_slope(dot(taps, window) + bias);
                if t < end {
                    grad_w_sum += grad_now * window;
                    grad_b_sum += grad_now;
                }
                past = window.yzw;
            }
            if t >= begin + 3u {
                grad_x[at - 3u * stride] = t_grad_x(dot(taps.wzyx, vec4(grad_past, grad_now)));
            }
            grad_past = vec3(grad_past.yz, grad_now);
            at += stride;
        }
    }
    grad_w[item] = grad_w_sum;
#if BIAS
    grad_b[item] = grad_b_sum;
#endif
}

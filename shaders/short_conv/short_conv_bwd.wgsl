// With dpre_t = dy_t silu'(pre_t): dx_t = sum_j w_j dpre_{t+3-j}, and partial sums of dw_j = sum dpre_t x_{t-3+j} and
// db = sum dpre_t. Thread (part p, group of channels) does the units p, p + parts, .. (RUN steps of one sequence each) and
// runs three steps past a unit's end, since dx_t needs dpre up to t + 3. Grid: ops::grid_1d over ceil(parts groups / 256).
#import lib/grid
#import lib/conv

const BIAS: bool = false;
const RUN: u32 = 32;

alias t_x = f32;
alias t_grad_y = f32;
alias t_grad_x = f32;
#if WIDE
alias a_x = vec4<t_x>;
alias a_grad_y = vec4<t_grad_y>;
alias a_grad_x = vec4<t_grad_x>;
#else
alias a_x = t_x;
alias a_grad_y = t_grad_y;
alias a_grad_x = t_grad_x;
#endif

struct Params { units: u32, blocks: u32, t: u32, groups: u32, parts: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<a_x>; // [B, T, channels]
@group(0) @binding(1) var<storage, read_write> w: array<vec4<f32>>; // [channels] of 4 taps
@group(0) @binding(2) var<storage, read_write> grad_y: array<a_grad_y>; // [B, T, channels]
@group(0) @binding(3) var<storage, read_write> grad_x: array<a_grad_x>; // [B, T, channels]
@group(0) @binding(4) var<storage, read_write> grad_w: array<vec4<f32>>; // [parts, channels] of 4 taps
#if BIAS
@group(0) @binding(5) var<storage, read_write> b: array<Lanes>; // [channels]
@group(0) @binding(6) var<storage, read_write> grad_b: array<Lanes>; // [parts, channels]
#endif
@group(0) @binding(7) var<uniform> params: Params;

@compute @workgroup_size(256)
fn short_conv_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let item = workgroup_index(wg, count) * 256u + thread;
    if item >= params.parts * params.groups {
        return;
    }
    let c = item % params.groups;
    let stride = params.groups;
    let taps = taps_of(c);
    let back = Taps(taps.t3, taps.t2, taps.t1, taps.t0);
    var bias = Lanes();
#if BIAS
    bias = b[c];
    var grad_b_sum = Lanes();
#endif
    // Of dpre_t x_{t-3+j}.
#for j in 0..4
    var sum{j} = Lanes();
#end
    for (var unit = item / params.groups; unit < params.units; unit += params.parts) {
        let begin = unit % params.blocks * RUN;
        let end = min(begin + RUN, params.t);
        var at = (unit / params.blocks * params.t + begin) * stride + c;
        // x_{t-3}, x_{t-2}, x_{t-1}, and dpre there
#for j in 0..3
        var x{j} = Lanes();
        var grad{j} = Lanes();
#end
        if begin > 0u {
#for j in 0..3
            x{j} = Lanes(x[at - {3 - j}u * stride]);
#end
        }
        let until = min(end + 3u, params.t);
        var next = at;
        var x_ahead = Lanes(x[at]);
        var grad_ahead = Lanes(grad_y[at]);
        for (var t = begin; t < end + 3u; t++) {
            var grad_now = Lanes();
            let now = x_ahead;
            let grad_here = grad_ahead;
            next += select(0u, stride, t + 1u < until);
            x_ahead = Lanes(x[next]);
            grad_ahead = Lanes(grad_y[next]);
            if t < params.t {
                grad_now = grad_here * silu_slope_lanes(convolve(taps, x0, x1, x2, now) + bias);
                if t < end {
#for j in 0..3
                    sum{j} += grad_now * x{j};
#end
                    sum3 += grad_now * now;
#if BIAS
                    grad_b_sum += grad_now;
#endif
                }
                x0 = x1;
                x1 = x2;
                x2 = now;
            }
            if t >= begin + 3u {
                grad_x[at - 3u * stride] = a_grad_x(convolve(back, grad0, grad1, grad2, grad_now));
            }
            grad0 = grad1;
            grad1 = grad2;
            grad2 = grad_now;
            at += stride;
        }
    }
#if WIDE
#for e in 0..4
    grad_w[4u * item + {e}u] = vec4(sum0[{e}], sum1[{e}], sum2[{e}], sum3[{e}]);
#end
#else
    grad_w[item] = vec4(sum0, sum1, sum2, sum3);
#endif
#if BIAS
    grad_b[item] = grad_b_sum;
#endif
}

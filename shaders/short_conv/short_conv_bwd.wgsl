// With dpre_t = dy_t silu'(pre_t): dx_t = sum_j w_j dpre_{t+3-j}, and partial sums of dw_j = sum dpre_t x_{t-3+j} and
// db = sum dpre_t. Thread (part p, group of channels) does the units p, p + parts, .. (`run` steps of one sequence each) and
// runs three steps past a unit's end, since dx_t needs dpre up to t + 3. It asks for four steps at once, while the four before
// them are done: else it waits for memory. Grid: ops::grid_1d over ceil(parts groups / 256).
#import lib/grid
#import lib/conv

const BIAS: bool = false;

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

struct Params { units: u32, run: u32, blocks: u32, t: u32, groups: u32, parts: u32 }

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
        let begin = unit % params.blocks * params.run;
        let end = min(begin + params.run, params.t);
        let origin = unit / params.blocks * params.t * stride + c;
        // x_{t-3}, x_{t-2}, x_{t-1}, and dpre there
#for j in 0..3
        var x{j} = Lanes();
        var grad{j} = Lanes();
#end
        if begin > 0u {
#for j in 0..3
            x{j} = Lanes(x[origin + (begin - {3 - j}u) * stride]);
#end
        }
#for i in 0..4
        let at{i} = origin + min(begin + {i}u, params.t - 1u) * stride;
        var next{i} = x[at{i}];
        var grad_next{i} = grad_y[at{i}];
#end
        for (var first = begin; first < end + 3u; first += 4u) {
#for i in 0..4
            let now{i} = Lanes(next{i});
            let grad_here{i} = Lanes(grad_next{i});
#end
#for i in 0..4
            let at{i} = origin + min(first + {4 + i}u, params.t - 1u) * stride;
            next{i} = x[at{i}];
            grad_next{i} = grad_y[at{i}];
#end
#for i in 0..4
            {
                let t = first + {i}u;
                var grad_now = Lanes();
                if t < params.t {
                    grad_now = grad_here{i} * silu_slope_lanes(convolve(taps, x0, x1, x2, now{i}) + bias);
                    if t < end {
#for j in 0..3
                        sum{j} += grad_now * x{j};
#end
                        sum3 += grad_now * now{i};
#if BIAS
                        grad_b_sum += grad_now;
#endif
                    }
                }
                if t >= begin + 3u && t < end + 3u {
                    grad_x[origin + (t - 3u) * stride] = a_grad_x(convolve(back, grad0, grad1, grad2, grad_now));
                }
                x0 = x1;
                x1 = x2;
                x2 = now{i};
                grad0 = grad1;
                grad1 = grad2;
                grad2 = grad_now;
            }
#end
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

// y_t = silu(sum_j w_j x_{t-3+j} (+ b)). A thread does one channel or four over `run` steps of a sequence, with the last
// inputs in registers, four steps at once; neighbours do neighbouring channels. Grid: ops::grid_1d over ceil(units groups / 256), a unit being
// `run` steps of one sequence, a group the channels of a thread.
#import lib/grid
#import lib/conv

const BIAS: bool = false;

alias t_x = f32;
alias t_y = f32;
#if WIDE
alias a_x = vec4<t_x>;
alias a_y = vec4<t_y>;
#else
alias a_x = t_x;
alias a_y = t_y;
#endif

struct Params { units: u32, run: u32, blocks: u32, t: u32, groups: u32, parts: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<a_x>; // [B, T, channels]
@group(0) @binding(1) var<storage, read_write> w: array<vec4<f32>>; // [channels] of 4 taps, the last on the current step
#if BIAS
@group(0) @binding(2) var<storage, read_write> b: array<Lanes>; // [channels]
#endif
@group(0) @binding(3) var<storage, read_write> y: array<a_y>; // [B, T, channels]
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(256)
fn short_conv_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let item = workgroup_index(wg, count) * 256u + thread;
    if item >= params.units * params.groups {
        return;
    }
    let c = item % params.groups;
    let unit = item / params.groups;
    let stride = params.groups;
    let begin = unit % params.blocks * params.run;
    let end = min(begin + params.run, params.t);
    let origin = unit / params.blocks * params.t * stride + c;
    // x_{t-3}, x_{t-2}, x_{t-1}
    var x0 = Lanes();
    var x1 = Lanes();
    var x2 = Lanes();
    if begin > 0u {
        x0 = Lanes(x[origin + (begin - 3u) * stride]);
        x1 = Lanes(x[origin + (begin - 2u) * stride]);
        x2 = Lanes(x[origin + (begin - 1u) * stride]);
    }
    let taps = taps_of(c);
    var bias = Lanes();
#if BIAS
    bias = b[c];
#endif
    for (var first = begin; first < end; first += 4u) {
#for i in 0..4
        let now{i} = Lanes(x[origin + min(first + {i}u, end - 1u) * stride]);
#end
#for i in 0..4
        if first + {i}u < end {
            y[origin + (first + {i}u) * stride] = a_y(silu_lanes(convolve(taps, x0, x1, x2, now{i}) + bias));
        }
        x0 = x1;
        x1 = x2;
        x2 = now{i};
#end
    }
}

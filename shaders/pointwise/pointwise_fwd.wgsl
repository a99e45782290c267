// y = offset + scale f(x). A thread an element or, WIDE, four; grid:
// ops::grid_1d over ceil(n / 256), n counting threads.
#import lib/grid
#import lib/activation
#import lib/wide

// 0 sigma, 1 ln sigma, 2 silu, 3 1 - e^x, 4 ln(1 + e^x).
const FUNCTION: u32 = 0;
alias t_x = f32;
alias t_y = f32;
#if WIDE
alias a_x = vec4<t_x>;
alias a_y = vec4<t_y>;
#else
alias a_x = t_x;
alias a_y = t_y;
#endif

struct Params { n: u32, scale: f32, offset: f32, accumulate: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<a_x>; // [n]
@group(0) @binding(1) var<storage, read_write> y: array<a_y>; // [n]
@group(0) @binding(2) var<uniform> params: Params;

fn value_of(at: f32) -> f32 {
#if FUNCTION == 0
    return sigmoid(at);
#endif
#if FUNCTION == 1
    return -softplus(-at);
#endif
#if FUNCTION == 2
    return silu(at);
#endif
#if FUNCTION == 3
    return complement(-at);
#endif
#if FUNCTION == 4
    return softplus(at);
#endif
}

fn values_of(x: Lanes) -> Lanes {
#if WIDE
    return vec4(value_of(x.x), value_of(x.y), value_of(x.z), value_of(x.w));
#else
    return value_of(x);
#endif
}

@compute @workgroup_size(256)
fn pointwise_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_index(wg, count) * 256u + lane;
    if i < params.n {
        y[i] = a_y(params.offset + params.scale * values_of(Lanes(x[i])));
    }
}

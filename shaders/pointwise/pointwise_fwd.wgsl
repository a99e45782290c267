// y = offset + scale f(x). A thread an element; grid: ops::grid_1d over ceil(n / 256) workgroups.
#import lib/grid
#import lib/activation

// 0 sigma, 1 ln sigma, 2 silu, 3 1 - e^x, 4 ln(1 + e^x).
const FUNCTION: u32 = 0;
alias t_x = f32;
alias t_y = f32;

struct Params { n: u32, scale: f32, offset: f32, accumulate: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<t_x>; // [n]
@group(0) @binding(1) var<storage, read_write> y: array<t_y>; // [n]
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(256)
fn pointwise_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_index(wg, count) * 256u + lane;
    if i < params.n {
        let at = f32(x[i]);
#if FUNCTION == 0
        let value = sigmoid(at);
#endif
#if FUNCTION == 1
        let value = -softplus(-at);
#endif
#if FUNCTION == 2
        let value = silu(at);
#endif
#if FUNCTION == 3
        let value = complement(-at);
#endif
#if FUNCTION == 4
        let value = softplus(at);
#endif
        y[i] = t_y(params.offset + params.scale * value);
    }
}

// dx = dy scale f'(x), added where `accumulate`. A thread an element; grid: ops::grid_1d over ceil(n / 256) workgroups.
#import lib/grid
#import lib/activation

// As in pointwise_fwd.
const FUNCTION: u32 = 0;
alias t_x = f32;
alias t_grad_y = f32;
alias t_grad_x = f32;

struct Params { n: u32, scale: f32, offset: f32, accumulate: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<t_x>; // [n]
@group(0) @binding(1) var<storage, read_write> grad_y: array<t_grad_y>; // [n]
@group(0) @binding(2) var<storage, read_write> grad_x: array<t_grad_x>; // [n]
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(256)
fn pointwise_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_index(wg, count) * 256u + lane;
    if i < params.n {
        let at = f32(x[i]);
#if FUNCTION == 0
        let slope = sigmoid(at) * sigmoid(-at);
#endif
#if FUNCTION == 1
        let slope = sigmoid(-at);
#endif
#if FUNCTION == 2
        let slope = silu_slope(at);
#endif
#if FUNCTION == 3
        let slope = -exp_wide(max(at, -87.0));
#endif
#if FUNCTION == 4
        let slope = sigmoid(at);
#endif
        var d = f32(grad_y[i]) * params.scale * slope;
        if params.accumulate != 0u {
            d += f32(grad_x[i]);
        }
        grad_x[i] = t_grad_x(d);
    }
}

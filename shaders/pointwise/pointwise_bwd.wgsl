// dx = dy scale f'(x), added where `accumulate`. A thread an element or, WIDE, four; grid:
// ops::grid_1d over ceil(n / 256), n counting threads.
#import lib/grid
#import lib/activation
#import lib/wide

// As in pointwise_fwd.
const FUNCTION: u32 = 0;
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

struct Params { n: u32, scale: f32, offset: f32, accumulate: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<a_x>; // [n]
@group(0) @binding(1) var<storage, read_write> grad_y: array<a_grad_y>; // [n]
@group(0) @binding(2) var<storage, read_write> grad_x: array<a_grad_x>; // [n]
@group(0) @binding(3) var<uniform> params: Params;

fn slope_of(at: f32) -> f32 {
#if FUNCTION == 0
    return sigmoid(at) * sigmoid(-at);
#endif
#if FUNCTION == 1
    return sigmoid(-at);
#endif
#if FUNCTION == 2
    return silu_slope(at);
#endif
#if FUNCTION == 3
    return -exp_wide(max(at, -87.0));
#endif
#if FUNCTION == 4
    return sigmoid(at);
#endif
}

fn slopes_of(x: Lanes) -> Lanes {
#if WIDE
    return vec4(slope_of(x.x), slope_of(x.y), slope_of(x.z), slope_of(x.w));
#else
    return slope_of(x);
#endif
}

@compute @workgroup_size(256)
fn pointwise_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_index(wg, count) * 256u + lane;
    if i < params.n {
        var d = Lanes(grad_y[i]) * params.scale * slopes_of(Lanes(x[i]));
        if params.accumulate != 0u {
            d += Lanes(grad_x[i]);
        }
        grad_x[i] = a_grad_x(d);
    }
}

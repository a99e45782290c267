// ddelta_raw as scan_bwd left it (TIMED), and dz = dy yp silu'(z) with the scan's own output yp (GATED).
// A thread an element; grid: ops::grid_1d over ceil(n / 256), n elements of some whole sequences from `first` on.
#import lib/grid
#import lib/activation

alias t_z = f32;
alias t_grad_y = f32;
alias t_grad_delta = f32;
alias t_grad_z = f32;
const TIMED: bool = true; // there is a step dt
const GATED: bool = true; // silu(z) multiplies the output

struct Params { n: u32, first: u32, channels: u32, bias_at: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<f32>; // [2, n]: ddelta_raw, yp
#if TIMED
@group(0) @binding(1) var<storage, read_write> grad_delta: array<t_grad_delta>; // [B, T, E]
#endif
#if GATED
@group(0) @binding(2) var<storage, read_write> z: array<t_z>; // [B, T, E]
@group(0) @binding(3) var<storage, read_write> grad_y: array<t_grad_y>; // [B, T, E]
@group(0) @binding(4) var<storage, read_write> grad_z: array<t_grad_z>; // [B, T, E]
#endif
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(256)
fn scan_outputs_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(wg, count) * 256u + thread;
    if i < params.n {
        let at = params.first + i;
#if TIMED
        grad_delta[at] = t_grad_delta(x[i]);
#endif
#if GATED
        grad_z[at] = t_grad_z(f32(grad_y[at]) * x[params.n + i] * silu_slope(f32(z[at])));
#endif
    }
}

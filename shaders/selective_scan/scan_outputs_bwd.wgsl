// ddelta_raw as scan_bwd left it (STEPPED), and dz = dy yp silu'(z) with the scan's own output yp (GATED).
// A thread an element; grid: ops::grid_1d over ceil(n / 256), n elements of some whole sequences from `first` on.
#import lib/grid
#import lib/activation

alias t_z = f32;
alias t_dy = f32;
alias t_ddelta = f32;
alias t_dz = f32;
const STEPPED: bool = true; // there is a step dt
const GATED: bool = true; // silu(z) multiplies the output

struct Params { n: u32, first: u32, channels: u32, bias_at: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<f32>; // [2, n]: ddelta_raw, yp
#if STEPPED
@group(0) @binding(1) var<storage, read_write> ddelta: array<t_ddelta>; // [B, T, E]
#endif
#if GATED
@group(0) @binding({1 + STEPPED}) var<storage, read_write> z: array<t_z>; // [B, T, E]
@group(0) @binding({2 + STEPPED}) var<storage, read_write> dy: array<t_dy>; // [B, T, E]
@group(0) @binding({3 + STEPPED}) var<storage, read_write> dz: array<t_dz>; // [B, T, E]
#endif
@group(0) @binding({1 + STEPPED + 3 * GATED}) var<uniform> params: Params;

@compute @workgroup_size(256)
fn scan_outputs_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(wg, count) * 256u + thread;
    if i < params.n {
        let at = params.first + i;
#if STEPPED
        ddelta[at] = t_ddelta(x[i]);
#endif
#if GATED
        dz[at] = t_dz(f32(dy[at]) * x[params.n + i] * d_silu(f32(z[at])));
#endif
    }
}

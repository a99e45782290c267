// What the scan's backward kernels read of a channel and step: dt = softplus(delta_raw + delta_bias), dp = dy silu(z).
// Without TIMED nobody reads dt, without GATED dp = dy.
// A thread an element; grid: ops::grid_1d over ceil(n / 256), n elements of some whole sequences from `first` on.
#import lib/grid
#import lib/activation

alias t_delta_raw = f32;
alias t_z = f32;
alias t_grad_y = f32;
const TIMED: bool = true; // there is a step dt
const GATED: bool = true; // silu(z) multiplies the output

struct Params { n: u32, first: u32, channels: u32, bias_at: u32 }

@group(0) @binding(0) var<storage, read_write> grad_y: array<t_grad_y>; // [B, T, E]
@group(0) @binding(1) var<storage, read_write> x: array<f32>; // [2, n]: dt, dp
#if TIMED
@group(0) @binding(2) var<storage, read_write> rates: array<f32>; // [E, N], delta_bias [E], D [E]
@group(0) @binding(3) var<storage, read_write> delta_raw: array<t_delta_raw>; // [B, T, E]
#endif
#if GATED
@group(0) @binding(4) var<storage, read_write> z: array<t_z>; // [B, T, E]
#endif
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(256)
fn scan_inputs_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(wg, count) * 256u + thread;
    if i < params.n {
        let at = params.first + i;
#if TIMED
        x[i] = softplus(f32(delta_raw[at]) + rates[params.bias_at + at % params.channels]);
#endif
#if GATED
        x[params.n + i] = f32(grad_y[at]) * silu(f32(z[at]));
#else
        x[params.n + i] = f32(grad_y[at]);
#endif
    }
}

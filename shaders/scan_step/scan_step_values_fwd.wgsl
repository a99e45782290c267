// What all states of a channel share: (dt, what Bm is multiplied by, D u, gate). Without TIMED dt is not used.
// A thread does a channel of a sequence; grid: ops::grid_1d over ceil(B E / 256). Source: models.md 4.7, 7.
#import lib/grid
#import lib/activation

const TIMED: bool = true;
const TIED: bool = true; // dt scales what is written
const GATED: bool = true;

alias t_u = f32;
alias t_delta_raw = f32;
alias t_z = f32;

struct Params { n: u32, channels: u32 }

@group(0) @binding(0) var<storage, read_write> u: array<t_u>; // [B, E]
@group(0) @binding(1) var<storage, read_write> skip: array<f32>; // D [E]
#if TIMED
@group(0) @binding(2) var<storage, read_write> delta_raw: array<t_delta_raw>; // [B, E]
@group(0) @binding(3) var<storage, read_write> delta_bias: array<f32>; // [E]
#endif
#if GATED
@group(0) @binding(4) var<storage, read_write> z: array<t_z>; // [B, E]
#endif
@group(0) @binding(5) var<storage, read_write> values: array<vec4<f32>>; // [B, E]
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(256)
fn scan_step_values_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(wg, count) * 256u + thread;
    if i >= params.n {
        return;
    }
    let c = i % params.channels;
    let here = f32(u[i]);
    var value = vec4(0.0, here, skip[c] * here, 1.0);
#if TIMED
    value.x = softplus(f32(delta_raw[i]) + delta_bias[c]);
#if TIED
    value.y *= value.x;
#endif
#endif
#if GATED
    value.w = silu(f32(z[i]));
#endif
    values[i] = value;
}

// M <- a M + beta k k^T, N <- a N + beta k v^T. A thread an element of both; grid: ops::grid_1d over ceil(B H D D / 256).
// Source: models.md 4.14.
#import lib/grid
#import lib/decay_factor

alias t_k = f32;
alias t_v = f32;

struct Params { elements: u32, d: u32 } // B H D D

@group(0) @binding(0) var<storage, read_write> k: array<t_k>; // [B, H, D]
@group(0) @binding(1) var<storage, read_write> v: array<t_v>; // [B, H, D]
@group(0) @binding(2) var<storage, read_write> g: array<f32>; // [B, H]
@group(0) @binding(3) var<storage, read_write> beta: array<f32>; // [B, H]
@group(0) @binding(4) var<storage, read_write> m: array<f32>; // [B, H, D, D]
@group(0) @binding(5) var<storage, read_write> n: array<f32>; // [B, H, D, D]
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(256)
fn mesa_step_write_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = workgroup_index(wg, count) * 256u + thread;
    if at >= params.elements {
        return;
    }
    let row = at / params.d;
    let head = row / params.d;
    let column = head * params.d + at % params.d;
    let kept = decay_factor(g[head]);
    let write = beta[head] * f32(k[row]);
    m[at] = kept * m[at] + write * f32(k[column]);
    n[at] = kept * n[at] + write * f32(v[column]);
}

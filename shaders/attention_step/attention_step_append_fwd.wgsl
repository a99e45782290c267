// Puts the new keys and values into their row. A thread an element; grid: ops::grid_1d over ceil(B H D / 256).
#import lib/grid

alias t_k = f32;
alias t_v = f32;

struct Params { heads: u32, h: u32, d: u32, rows: u32, parts: u32, scale: f32 } // heads: B H

@group(0) @binding(0) var<storage, read_write> k: array<t_k>; // [B, H, D]
@group(0) @binding(1) var<storage, read_write> v: array<t_v>; // [B, H, D]
@group(0) @binding(2) var<storage, read_write> position: array<u32>; // [1]
@group(0) @binding(3) var<storage, read_write> keys: array<f32>; // [B, rows, H, D]
@group(0) @binding(4) var<storage, read_write> values: array<f32>; // [B, rows, H, D]
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(256)
fn attention_step_append_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(wg, count) * 256u + thread;
    if i >= params.heads * params.d {
        return;
    }
    let row = params.h * params.d;
    let t = min(position[0], params.rows - 1u);
    let at = (i / row * params.rows + t) * row + i % row;
    keys[at] = f32(k[i]);
    values[at] = f32(v[i]);
}

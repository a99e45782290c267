// o from the parts that have seen keys. A thread an element; grid: ops::grid_1d over ceil(B H D / 256).
#import lib/grid
#import lib/decay_factor

const KEYS: u32 = 128; // of a part

alias t_o = f32;

struct Params { heads: u32, h: u32, d: u32, rows: u32, parts: u32, scale: f32 } // heads: B H

@group(0) @binding(0) var<storage, read_write> sums: array<f32>; // [B, H, parts, D + 2]: sum p v, maximum, sum p
@group(0) @binding(1) var<storage, read_write> position: array<u32>; // [1]
@group(0) @binding(2) var<storage, read_write> o: array<t_o>; // [B, H, D]
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(256)
fn attention_step_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(wg, count) * 256u + thread;
    if i >= params.heads * params.d {
        return;
    }
    let width = params.d + 2u;
    let begin = i / params.d * params.parts;
    let end = begin + min(position[0], params.rows - 1u) / KEYS + 1u;
    var maximum = -3.0e38;
    for (var part = begin; part < end; part++) {
        maximum = max(maximum, sums[part * width + params.d]);
    }
    var total = 0.0;
    var sum = 0.0;
    for (var part = begin; part < end; part++) {
        let weight = decay_factor(sums[part * width + params.d] - maximum);
        total += weight * sums[part * width + params.d + 1u];
        sum += weight * sums[part * width + i % params.d];
    }
    o[i] = t_o(sum / total);
}

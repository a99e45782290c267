// y (+)= sum over the parts, in their order: the second stage of sums that were cut in pieces.
// A thread an element; grid: ops::grid_1d over ceil(n / 256) workgroups.
#import lib/grid

alias t_y = f32;

struct Params { n: u32, parts: u32, accumulate: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<f32>; // [parts, n]
@group(0) @binding(1) var<storage, read_write> y: array<t_y>; // [n]
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(256)
fn sum_parts(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_index(wg, count) * 256u + lane;
    if i < params.n {
        var sum = 0.0;
        for (var part = 0u; part < params.parts; part += 1u) {
            sum += x[part * params.n + i];
        }
        if params.accumulate != 0u {
            sum += f32(y[i]);
        }
        y[i] = t_y(sum);
    }
}

// partial_i = sum of squares of 4,096 gradients. A workgroup a partial sum; grid: ops::grid_1d over the parts.
#import lib/grid
#import lib/sum256

struct Params { n: u32, first: u32 } // elements bound here; index of their first partial sum

@group(0) @binding(0) var<storage, read_write> g: array<f32>;         // [n]
@group(0) @binding(1) var<storage, read_write> partial_sums: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(256)
fn grad_norm_parts(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let part = workgroup_index(wg, count);
    if part * 4096u >= params.n {
        return;
    }
    var sum = 0.0;
    for (var j = 0u; j < 16u; j += 1u) {
        let i = part * 4096u + j * 256u + lane;
        if i < params.n {
            sum += g[i] * g[i];
        }
    }
    sum = sum256(lane, sum);
    if lane == 0u {
        partial_sums[params.first + part] = sum;
    }
}

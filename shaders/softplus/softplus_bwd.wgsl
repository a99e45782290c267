// dx (+)= dy sigma(x). A thread an element; grid: ops::grid_1d over ceil(n / 256) workgroups.
#import lib/grid
#import lib/activation

struct Params { n: u32, offset: f32, accumulate: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<f32>; // [n]
@group(0) @binding(1) var<storage, read_write> dy: array<f32>; // [n]
@group(0) @binding(2) var<storage, read_write> dx: array<f32>; // [n]
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(256)
fn softplus_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_index(wg, count) * 256u + lane;
    if i < params.n {
        var d = dy[i] * sigmoid(x[i]);
        if params.accumulate != 0u {
            d += dx[i];
        }
        dx[i] = d;
    }
}

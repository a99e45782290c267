// y_ij = x_j. A thread an element; grid: ops::grid_1d over ceil(n / 256).
#import lib/grid

alias t_y = f32;

struct Params { n: u32, d: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<f32>; // [d]
@group(0) @binding(1) var<storage, read_write> y: array<t_y>; // [n / d, d]
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(256)
fn repeat_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(wg, count) * 256u + thread;
    if i < params.n {
        y[i] = t_y(x[i % params.d]);
    }
}

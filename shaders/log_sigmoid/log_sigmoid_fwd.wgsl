// y = scale * ln sigma(x). A thread an element; grid: ops::grid_1d over ceil(n / 256) workgroups.
#import lib/grid
#import lib/activation

alias t_x = f32;

struct Params { n: u32, scale: f32 }

@group(0) @binding(0) var<storage, read_write> x: array<t_x>; // [n]
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // [n]
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(256)
fn log_sigmoid_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_index(wg, count) * 256u + lane;
    if i < params.n {
        y[i] = -params.scale * softplus(-f32(x[i]));
    }
}

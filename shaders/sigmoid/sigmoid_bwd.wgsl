// dx = dy y (1 - y / scale). A thread an element; grid: ops::grid_1d over ceil(n / 256) workgroups.
#import lib/grid

alias t_y = f32;
alias t_dy = f32;
alias t_dx = f32;

struct Params { n: u32, scale: f32 }

@group(0) @binding(0) var<storage, read_write> y: array<t_y>; // [n]
@group(0) @binding(1) var<storage, read_write> dy: array<t_dy>; // [n]
@group(0) @binding(2) var<storage, read_write> dx: array<t_dx>; // [n]
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(256)
fn sigmoid_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_index(wg, count) * 256u + lane;
    if i < params.n {
        let p = f32(y[i]);
        dx[i] = t_dx(f32(dy[i]) * p * (1.0 - p / params.scale));
    }
}

// dx = dy scale sigma(-x). A thread an element; grid: ops::grid_1d over ceil(n / 256) workgroups.
#import lib/grid
#import lib/activation

alias t_x = f32;
alias t_dx = f32;

struct Params { n: u32, scale: f32 }

@group(0) @binding(0) var<storage, read_write> x: array<t_x>; // [n]
@group(0) @binding(1) var<storage, read_write> dy: array<f32>; // [n]
@group(0) @binding(2) var<storage, read_write> dx: array<t_dx>; // [n]
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(256)
fn log_sigmoid_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_index(wg, count) * 256u + lane;
    if i < params.n {
        dx[i] = t_dx(dy[i] * params.scale * sigmoid(-f32(x[i])));
    }
}

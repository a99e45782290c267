// y[r, c] = x[r, first + c]. A thread an element of y; grid: ops::grid_1d over ceil(n / 256), n = rows len.
#import lib/grid

alias t_x = f32;
alias t_y = f32;

struct Params { n: u32, width: u32, first: u32, len: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<t_x>; // [rows, width]
@group(0) @binding(1) var<storage, read_write> y: array<t_y>; // [rows, len]
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(256)
fn slice_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_index(wg, count) * 256u + lane;
    if i < params.n {
        y[i] = t_y(f32(x[i / params.len * params.width + params.first + i % params.len]));
    }
}

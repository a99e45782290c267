// y = s x. A thread an element; grid: ops::grid_1d over ceil(rows p / 256).
#import lib/grid

alias t_x = f32;
alias t_y = f32;

struct Params { rows: u32, p: u32, accumulate: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<t_x>; // [rows, p]
@group(0) @binding(1) var<storage, read_write> s: array<f32>; // [rows]
@group(0) @binding(2) var<storage, read_write> y: array<t_y>; // [rows, p]
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(256)
fn scale_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(wg, count) * 256u + thread;
    if i < params.rows * params.p {
        y[i] = t_y(s[i / params.p] * f32(x[i]));
    }
}

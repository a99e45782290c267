// y = a sigma(b), a and b the halves of each row of x. A thread an element of y; grid: ops::grid_1d over
// ceil(rows d / 256).
#import lib/grid
#import lib/activation

alias t_x = f32;
alias t_y = f32;

struct Params { n: u32, d: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<t_x>; // [rows, 2 d]
@group(0) @binding(1) var<storage, read_write> y: array<t_y>; // [rows, d]
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(256)
fn glu_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(wg, count) * 256u + thread;
    if i < params.n {
        let at = i + i / params.d * params.d;
        y[i] = t_y(f32(x[at]) * sigmoid(f32(x[at + params.d])));
    }
}

// y = s x. A thread an element or, WIDE, a quad; grid: ops::grid_1d over ceil(rows p / WIDTH / 256).
#import lib/grid
#import lib/wide

alias t_x = f32;
alias t_y = f32;
#if WIDE
alias a_x = vec4<t_x>;
alias a_y = vec4<t_y>;
#else
alias a_x = t_x;
alias a_y = t_y;
#endif

struct Params { rows: u32, p: u32, accumulate: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<a_x>; // [rows, p]
@group(0) @binding(1) var<storage, read_write> s: array<f32>; // [rows]
@group(0) @binding(2) var<storage, read_write> y: array<a_y>; // [rows, p]
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(256)
fn scale_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(wg, count) * 256u + thread;
    let columns = params.p / WIDTH;
    if i < params.rows * columns {
        y[i] = a_y(s[i / columns] * Lanes(x[i]));
    }
}

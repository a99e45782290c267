// y[r, c] = x[r, first + c]. A thread an element or, WIDE, a quad of y, which columns and rows count, too; grid:
// ops::grid_1d over ceil(n / 256), n = rows len.
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

struct Params { n: u32, width: u32, first: u32, len: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<a_x>; // [rows, width]
@group(0) @binding(1) var<storage, read_write> y: array<a_y>; // [rows, len]
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(256)
fn slice_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_index(wg, count) * 256u + lane;
    if i < params.n {
        y[i] = a_y(Lanes(x[i / params.len * params.width + params.first + i % params.len]));
    }
}

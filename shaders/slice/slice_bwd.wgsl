// dx[r, first + c] = dy[r, c], 0 in the other columns; PART: leaves those alone and, ADD, adds to dx.
// A thread an element of dx (PART: of dy) or, WIDE, a quad, which columns and rows count, too; grid: ops::grid_1d over
// ceil(n / 256), n = rows width (PART: rows len).
#import lib/grid
#import lib/wide

const PART: bool = false;
const ADD: bool = false;

alias t_grad_y = f32;
alias t_grad_x = f32;
#if WIDE
alias a_grad_y = vec4<t_grad_y>;
alias a_grad_x = vec4<t_grad_x>;
#else
alias a_grad_y = t_grad_y;
alias a_grad_x = t_grad_x;
#endif

struct Params { n: u32, width: u32, first: u32, len: u32 }

@group(0) @binding(0) var<storage, read_write> grad_y: array<a_grad_y>; // [rows, len]
@group(0) @binding(1) var<storage, read_write> grad_x: array<a_grad_x>; // [rows, width]
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(256)
fn slice_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_index(wg, count) * 256u + lane;
    if i >= params.n {
        return;
    }
#if PART
    let at = i / params.len * params.width + params.first + i % params.len;
#if ADD
    grad_x[at] = a_grad_x(Lanes(grad_x[at]) + Lanes(grad_y[i]));
#else
    grad_x[at] = a_grad_x(grad_y[i]);
#endif
#else
    let c = i % params.width;
    var value = Lanes();
    if c >= params.first && c - params.first < params.len {
        value = Lanes(grad_y[i / params.width * params.len + c - params.first]);
    }
    grad_x[i] = a_grad_x(value);
#endif
}

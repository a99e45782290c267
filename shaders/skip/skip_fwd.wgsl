// y = o + D x. A thread an element or, WIDE, a quad; grid: ops::grid_1d over ceil(rows p / WIDTH / 256).
#import lib/grid
#import lib/wide

alias t_o = f32;
alias t_x = f32;
alias t_y = f32;
#if WIDE
alias a_o = vec4<t_o>;
alias a_x = vec4<t_x>;
alias a_y = vec4<t_y>;
#else
alias a_o = t_o;
alias a_x = t_x;
alias a_y = t_y;
#endif

struct Params { rows: u32, h: u32, p: u32, accumulate: u32 }

@group(0) @binding(0) var<storage, read_write> o: array<a_o>; // [rows, p], a row a head
@group(0) @binding(1) var<storage, read_write> x: array<a_x>; // [rows, p]
@group(0) @binding(2) var<storage, read_write> d: array<f32>; // [h]
@group(0) @binding(3) var<storage, read_write> y: array<a_y>; // [rows, p]
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(256)
fn skip_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(wg, count) * 256u + thread;
    if i < params.rows * params.p / WIDTH {
        y[i] = a_y(fma(Lanes(d[i * WIDTH / params.p % params.h]), Lanes(x[i]), Lanes(o[i])));
    }
}

// y = residual + mask x / (1 - p). A thread four columns of a row, which share one call of the generator; grid:
// ops::grid_1d over ceil(rows groups / 256), groups = ceil(d / 4).
#import lib/grid
#import lib/dropout

alias t_residual = f32;
alias t_x = f32;
alias t_y = f32;
#if WIDE
alias a_residual = vec4<t_residual>;
alias a_x = vec4<t_x>;
alias a_y = vec4<t_y>;
#else
alias a_residual = t_residual;
alias a_x = t_x;
alias a_y = t_y;
#endif

struct Params { rows: u32, d: u32, groups: u32, tag: u32, threshold: u32, scale: f32 }

@group(0) @binding(0) var<storage, read_write> residual: array<a_residual>; // [rows, d]
@group(0) @binding(1) var<storage, read_write> x: array<a_x>; // [rows, d]
@group(0) @binding(2) var<storage, read_write> y: array<a_y>; // [rows, d]
@group(0) @binding(3) var<uniform> params: Params;
@group(0) @binding(4) var<uniform> step: Step;

fn mask_row(row: u32) -> u32 {
    return row;
}

fn drop(at: u32, keep: Keep, scale: f32) {
    y[at] = a_y(Lanes(residual[at]) + select(Lanes(), Lanes(x[at]) * scale, keep));
}

@compute @workgroup_size(256)
fn dropout_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    drop_columns(workgroup_index(wg, count) * 256u + thread);
}

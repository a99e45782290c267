// y = mask gelu(x) / (1 - p), one mask for all steps of a sequence. A thread four channels of a step, which share one
// call of the generator; grid: ops::grid_1d over ceil(B T groups / 256), groups = ceil(d / 4).
#import lib/grid
#import lib/dropout
#import lib/gelu

alias t_x = f32;
alias t_y = f32;

struct Params { rows: u32, t: u32, d: u32, groups: u32, tag: u32, threshold: u32, scale: f32 }

@group(0) @binding(0) var<storage, read_write> x: array<t_x>; // [B, T, d]
@group(0) @binding(1) var<storage, read_write> y: array<t_y>; // [B, T, d]
@group(0) @binding(2) var<uniform> params: Params;
@group(0) @binding(3) var<uniform> step: Step;

fn mask_row(row: u32) -> u32 {
    return row / params.t * params.t;
}

fn drop(at: u32, keep: Keep, scale: f32) {
    y[at] = t_y(select(0.0, gelu(f32(x[at])) * scale, keep));
}

@compute @workgroup_size(256)
fn gelu_dropout_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    drop_columns(workgroup_index(wg, count) * 256u + thread);
}

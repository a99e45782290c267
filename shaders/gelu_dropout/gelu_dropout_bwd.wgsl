// dx = mask gelu'(x) dy / (1 - p), the mask drawn again. Threads and grid as in gelu_dropout_fwd.
#import lib/grid
#import lib/dropout
#import lib/gelu

alias t_x = f32;
alias t_grad_y = f32;
alias t_grad_x = f32;

struct Params { rows: u32, t: u32, d: u32, groups: u32, tag: u32, threshold: u32, scale: f32 }

@group(0) @binding(0) var<storage, read_write> x: array<t_x>; // [B, T, d]
@group(0) @binding(1) var<storage, read_write> grad_y: array<t_grad_y>; // [B, T, d]
@group(0) @binding(2) var<storage, read_write> grad_x: array<t_grad_x>; // [B, T, d]
@group(0) @binding(3) var<uniform> params: Params;
@group(0) @binding(4) var<uniform> step: Step;

fn mask_row(row: u32) -> u32 {
    return row / params.t * params.t;
}

fn drop(at: u32, keep: Keep, scale: f32) {
    let value = gelu_slope(f32(x[at])) * f32(grad_y[at]) * scale;
    grad_x[at] = t_grad_x(select(0.0, value, keep));
}

@compute @workgroup_size(256)
fn gelu_dropout_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    drop_columns(workgroup_index(wg, count) * 256u + thread);
}

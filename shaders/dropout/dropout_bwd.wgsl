// dx = mask dy / (1 - p), the mask drawn again. Threads and grid as in dropout_fwd.
#import lib/grid
#import lib/dropout

alias t_grad_y = f32;
alias t_grad_x = f32;
#if WIDE
alias a_grad_y = vec4<t_grad_y>;
alias a_grad_x = vec4<t_grad_x>;
#else
alias a_grad_y = t_grad_y;
alias a_grad_x = t_grad_x;
#endif

struct Params { rows: u32, d: u32, groups: u32, tag: u32, threshold: u32, scale: f32 }

@group(0) @binding(0) var<storage, read_write> grad_y: array<a_grad_y>; // [rows, d]
@group(0) @binding(1) var<storage, read_write> grad_x: array<a_grad_x>; // [rows, d]
@group(0) @binding(2) var<uniform> params: Params;
@group(0) @binding(3) var<uniform> step: Step;

fn mask_row(row: u32) -> u32 {
    return row;
}

fn drop(at: u32, keep: Keep, scale: f32) {
    grad_x[at] = a_grad_x(select(Lanes(), Lanes(grad_y[at]) * scale, keep));
}

@compute @workgroup_size(256)
fn dropout_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    drop_columns(workgroup_index(wg, count) * 256u + thread);
}

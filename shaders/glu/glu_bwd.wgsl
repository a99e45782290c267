// da = dy sigma(b), db = dy a sigma'(b). Threads and grid as in glu_fwd.
#import lib/grid
#import lib/activation

alias t_x = f32;
alias t_grad_y = f32;
alias t_grad_x = f32;

struct Params { n: u32, d: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<t_x>; // [rows, 2 d]
@group(0) @binding(1) var<storage, read_write> grad_y: array<t_grad_y>; // [rows, d]
@group(0) @binding(2) var<storage, read_write> grad_x: array<t_grad_x>; // [rows, 2 d]
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(256)
fn glu_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(wg, count) * 256u + thread;
    if i < params.n {
        let at = i + i / params.d * params.d;
        let a = f32(x[at]);
        let b = f32(x[at + params.d]);
        let d = f32(grad_y[i]);
        // Both tails of the logistic from the exponential of a negative number.
        let e = select(0.0, exp_wide(-min(abs(b), 87.0)), abs(b) < 87.0);
        let inv = 1.0 / (1.0 + e);
        grad_x[at] = t_grad_x(d * select(e * inv, inv, b >= 0.0));
        grad_x[at + params.d] = t_grad_x(d * a * (e * inv * inv));
    }
}

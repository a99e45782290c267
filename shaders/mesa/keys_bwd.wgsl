// Gradients of keys and write strengths from those of the written keys kb = beta k, by N and by M, and of the keys as
// values of M: dkb = grad_kb_n + grad_kb_m, dK = beta dkb + grad_value, dbeta = k . dkb. A workgroup does 256 / LANES
// rows; grid: ops::grid_1d over those groups.
#import lib/grid
#import lib/row

alias t_k = f32;
alias t_grad_kb_n = f32;
alias t_grad_kb_m = f32;
alias t_grad_value = f32;
alias t_grad_k = f32;
#if WIDE
alias a_k = vec4<t_k>;
alias a_grad_kb_n = vec4<t_grad_kb_n>;
alias a_grad_kb_m = vec4<t_grad_kb_m>;
alias a_grad_value = vec4<t_grad_value>;
alias a_grad_k = vec4<t_grad_k>;
#else
alias a_k = t_k;
alias a_grad_kb_n = t_grad_kb_n;
alias a_grad_kb_m = t_grad_kb_m;
alias a_grad_value = t_grad_value;
alias a_grad_k = t_grad_k;
#endif

struct Params { rows: u32, d: u32 }

@group(0) @binding(0) var<storage, read_write> k: array<a_k>; // [rows, d]
@group(0) @binding(1) var<storage, read_write> beta: array<f32>; // [rows]
@group(0) @binding(2) var<storage, read_write> grad_kb_n: array<a_grad_kb_n>; // [rows, d]
@group(0) @binding(3) var<storage, read_write> grad_kb_m: array<a_grad_kb_m>; // [rows, d]
@group(0) @binding(4) var<storage, read_write> grad_value: array<a_grad_value>; // [rows, d]
@group(0) @binding(5) var<storage, read_write> grad_k: array<a_grad_k>; // [rows, d]
@group(0) @binding(6) var<storage, read_write> grad_beta: array<f32>; // [rows]
@group(0) @binding(7) var<uniform> params: Params;

@compute @workgroup_size(256)
fn keys_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = workgroup_index(wg, count) * ROWS_AT_ONCE + thread / LANES;
    let lane = thread % LANES;
    let columns = params.d / WIDTH;
    let width = select(0u, columns, row < params.rows);
    var strength = 0.0;
    if width > 0u {
        strength = beta[row];
    }
    var along = Lanes();
#for c in 0..PER
    if lane + {c}u * LANES < width {
        let at = row * columns + lane + {c}u * LANES;
        let grad_kb = Lanes(grad_kb_n[at]) + Lanes(grad_kb_m[at]);
        along += Lanes(k[at]) * grad_kb;
        grad_k[at] = a_grad_k(strength * grad_kb + Lanes(grad_value[at]));
    }
#end
    let sum = row_sum(vec2(lanes_total(along), 0.0), thread).x;
    if width > 0u && lane == 0u {
        grad_beta[row] = sum;
    }
}

// With sg = sigma(beta a) and sg' = sg (1 - sg): da = dy b (sg + beta a sg'), db = dy a sg, and a partial sum of
// dbeta = sum dy b a^2 sg'. Workgroup p does the elements p 256 + thread + i parts 256; grid: parts.
#import lib/grid

alias t_x = f32;
alias t_grad_y = f32;
alias t_grad_x = f32;

struct Params { n: u32, d: u32, parts: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<t_x>; // [rows, 2 d]
@group(0) @binding(1) var<storage, read_write> beta: array<f32>; // [1]
@group(0) @binding(2) var<storage, read_write> grad_y: array<t_grad_y>; // [rows, d]
@group(0) @binding(3) var<storage, read_write> grad_x: array<t_grad_x>; // [rows, 2 d]
@group(0) @binding(4) var<storage, read_write> grad_beta: array<f32>; // [parts]
@group(0) @binding(5) var<uniform> params: Params;

var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256)
fn swiglu_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let part = workgroup_index(wg, count);
    let slope = beta[0];
    var sum = 0.0;
    for (var i = part * 256u + thread; i < params.n; i += params.parts * 256u) {
        let at = i + i / params.d * params.d;
        let a = f32(x[at]);
        let b = f32(x[at + params.d]);
        let d = f32(grad_y[i]);
        let z = slope * a;
        // Both tails of the logistic from the exponential of a negative number: sg' keeps its digits where sg is 1.
        let e = select(0.0, exp(-abs(z)), abs(z) < 87.0);
        let inv = 1.0 / (1.0 + e);
        let sg = select(e * inv, inv, z >= 0.0);
        let sg_slope = e * inv * inv;
        grad_x[at] = t_grad_x(d * b * (sg + z * sg_slope));
        grad_x[at + params.d] = t_grad_x(d * a * sg);
        sum += d * b * a * (a * sg_slope);
    }
    sums[thread] = sum;
    workgroupBarrier();
    for (var span = 128u; span > 0u; span /= 2u) {
        if thread < span {
            sums[thread] += sums[thread + span];
        }
        workgroupBarrier();
    }
    if thread == 0u {
        grad_beta[part] = sums[0];
    }
}

// y = a sigma(beta a) b, a and b the halves of each row of x. A thread an element of y or, WIDE, four; grid:
// ops::grid_1d over ceil(n / 256), n counting threads and d what is WIDE.
#import lib/grid
#import lib/activation
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

struct Params { n: u32, d: u32, parts: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<a_x>; // [rows, 2 d]
@group(0) @binding(1) var<storage, read_write> beta: array<f32>; // [1]
@group(0) @binding(2) var<storage, read_write> y: array<a_y>; // [rows, d]
@group(0) @binding(3) var<uniform> params: Params;

fn sigmoid_of(x: Lanes) -> Lanes {
#if WIDE
    return vec4(sigmoid(x.x), sigmoid(x.y), sigmoid(x.z), sigmoid(x.w));
#else
    return sigmoid(x);
#endif
}

@compute @workgroup_size(256)
fn swiglu_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(wg, count) * 256u + thread;
    if i < params.n {
        let at = i + i / params.d * params.d;
        let a = Lanes(x[at]);
        y[i] = a_y(a * sigmoid_of(beta[0] * a) * Lanes(x[at + params.d]));
    }
}

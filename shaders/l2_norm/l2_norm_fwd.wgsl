// y = x r, r = (sum x^2 + eps)^-1/2. A workgroup does 256 / LANES rows; grid: ops::grid_1d over those groups.
#import lib/grid
#import lib/row

alias t_x = f32;
alias t_y = f32;

struct Params { rows: u32, d: u32, eps: f32 }

@group(0) @binding(0) var<storage, read_write> x: array<t_x>; // [rows, d]
@group(0) @binding(1) var<storage, read_write> y: array<t_y>; // [rows, d]
@group(0) @binding(2) var<storage, read_write> r: array<f32>; // [rows]
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(256)
fn l2_norm_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = workgroup_index(wg, count) * ROWS_AT_ONCE + thread / LANES;
    let lane = thread % LANES;
    let at = row * params.d;
    let width = select(0u, params.d, row < params.rows);
    var sum = 0.0;
#for k in 0..PER
    var x_{k} = 0.0;
    if lane + {k}u * LANES < width {
        x_{k} = f32(x[at + lane + {k}u * LANES]);
    }
    sum += x_{k} * x_{k};
#end
    let scale = 1.0 / sqrt(row_sum(vec2(sum, 0.0), thread).x + params.eps);
    if lane < min(width, 1u) {
        r[row] = scale;
    }
#for k in 0..PER
    if lane + {k}u * LANES < width {
        y[at + lane + {k}u * LANES] = t_y(x_{k} * scale);
    }
#end
}
